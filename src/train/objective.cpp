#include "lockstep/train/objective.h"

#include <ATen/ops/argmax.h>
#include <ATen/ops/stack.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "lockstep/base/cast.h"
#include "lockstep/base/error.h"
#include "lockstep/model/loss.h"
#include "lockstep/train/evaluation.h"

namespace lockstep {

namespace {

// Anything else would be summed over what is no sample.
at::Tensor one_each(const at::Tensor& values, const at::Tensor& targets, const char* what) {
  if (values.dim() == 1 && values.size(0) == targets.size(0)) return values;
  fail(ExitCode::kUsage, "the {} function gives [{}] for {} samples: expected one value a sample",
       what, fmt::join(values.sizes(), ","), targets.size(0));
}

}  // namespace

Classification::Classification(std::int64_t classes, double smoothing)
    : classes_(classes), smoothing_(smoothing) {
  if (classes < 2 || classes > kMostClasses) {
    fail(ExitCode::kUsage, "a classification of {} classes: expected 2 to {}", classes,
         kMostClasses);
  }
}

void Classification::require_logits(const at::Tensor& outputs, const at::Tensor& targets) const {
  if (outputs.dim() == 2 && outputs.size(0) == targets.size(0) && outputs.size(1) == classes_)
    return;
  fail(ExitCode::kUsage,
       "the network gives [{}] for {} samples: expected logits of {} classes each",
       fmt::join(outputs.sizes(), ","), targets.size(0), classes_);
}

at::Tensor Classification::loss_sum(const at::Tensor& outputs, const at::Tensor& targets) const {
  require_logits(outputs, targets);
  return cross_entropy_sum(outputs, targets, smoothing_);
}

at::Tensor Classification::metric_sum(const at::Tensor& outputs, const at::Tensor& targets) const {
  return outputs.argmax(1).eq(targets).sum();
}

at::Tensor Classification::evaluation_rows(const at::Tensor& outputs,
                                           const at::Tensor& targets) const {
  require_logits(outputs, targets);
  return outputs.to(at::kFloat);
}

Evaluation Classification::summarise(std::span<const float> rows, const at::Tensor& targets) const {
  return lockstep::summarise(rows, narrow_labels(targets), classes_);
}

void Classification::require_targets(const SampleSource& source) const {
  const SampleTensor kind = source.targets();
  if (!kind.shape.empty() || kind.type != at::kLong) {
    fail(ExitCode::kBadData, "{}: targets are {} [{}]: expected one int64 label a sample",
         source.source(), at::toString(kind.type), fmt::join(kind.shape, ","));
  }
  const std::vector<std::uint32_t> all = all_indices(source.size());
  const at::Tensor labels = targets_at(source, all);
  const auto* label = labels.const_data_ptr<std::int64_t>();
  for (const std::uint32_t i : all) {
    if (label[i] >= 0 && label[i] < classes_) continue;
    fail(ExitCode::kBadData, "{}: sample {} has label {}: expected 0 to {}", source.source(), i,
         label[i], classes_ - 1);
  }
}

PerSample::PerSample(Function loss, std::string metric_name, Function metric)
    : loss_(std::move(loss)), metric_(std::move(metric)), metric_name_(std::move(metric_name)) {
  if (!loss_) fail(ExitCode::kUsage, "an objective without a loss");
  if (metric_name_.empty() != !metric_) {
    fail(ExitCode::kUsage, "a metric has a name and a function: \"{}\" lacks one", metric_name_);
  }
}

at::Tensor PerSample::loss_sum(const at::Tensor& outputs, const at::Tensor& targets) const {
  return one_each(loss_(outputs, targets), targets, "loss").sum();
}

at::Tensor PerSample::metric_sum(const at::Tensor& outputs, const at::Tensor& targets) const {
  return one_each(metric_(outputs, targets), targets, "metric").sum();
}

at::Tensor PerSample::evaluation_rows(const at::Tensor& outputs, const at::Tensor& targets) const {
  std::vector<at::Tensor> columns{one_each(loss_(outputs, targets), targets, "loss")};
  if (metric_) columns.push_back(one_each(metric_(outputs, targets), targets, "metric"));
  for (at::Tensor& column : columns) column = column.to(at::kFloat);
  return at::stack(columns, 1);
}

Evaluation PerSample::summarise(std::span<const float> rows, const at::Tensor&) const {
  Evaluation result;
  result.metric_name = metric_name_;
  const std::size_t width = metric_ ? 2 : 1;
  result.samples = checked_cast<std::int64_t>(rows.size() / width);
  for (std::size_t i = 0; i < rows.size(); i += width) {
    result.loss += rows[i];
    if (metric_) result.metric += rows[i + 1];
  }
  if (result.samples > 0) {
    result.loss /= static_cast<double>(result.samples);
    result.metric /= static_cast<double>(result.samples);
  }
  return result;
}

std::vector<std::uint8_t> narrow_labels(const at::Tensor& targets) {
  const std::span labels(targets.const_data_ptr<std::int64_t>(),
                         checked_cast<std::size_t>(targets.numel()));
  std::vector<std::uint8_t> narrow;
  narrow.reserve(labels.size());
  for (const std::int64_t label : labels) narrow.push_back(checked_cast<std::uint8_t>(label));
  return narrow;
}

Evaluation summarise(std::span<const float> logits, std::span<const std::uint8_t> labels,
                     std::int64_t classes) {
  const auto width = checked_cast<std::size_t>(classes);
  LOCKSTEP_CHECK(logits.size() == labels.size() * width, "{} logits for {} labels of {} classes",
                 logits.size(), labels.size(), classes);
  Evaluation result;
  result.metric_name = "accuracy";
  result.samples = checked_cast<std::int64_t>(labels.size());
  result.class_samples.assign(width, 0);
  result.class_accuracy.assign(width, 0.0);
  result.confusion.assign(width, std::vector<std::int64_t>(width, 0));
  double loss = 0;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const auto row = logits.subspan(i * width, width);
    const auto largest = std::ranges::max_element(row);
    double sum = 0;
    for (const float logit : row) sum += std::exp(static_cast<double>(logit) - *largest);
    loss += std::log(sum) + *largest - row[labels[i]];
    ++result.class_samples[labels[i]];
    ++result.confusion[labels[i]][static_cast<std::size_t>(largest - row.begin())];
  }
  std::int64_t correct = 0;
  for (std::size_t c = 0; c < width; ++c) {
    correct += result.confusion[c][c];
    if (result.class_samples[c] > 0) {
      result.class_accuracy[c] = static_cast<double>(result.confusion[c][c]) /
                                 static_cast<double>(result.class_samples[c]);
    }
  }
  if (result.samples > 0) {
    result.loss = loss / static_cast<double>(result.samples);
    result.metric = static_cast<double>(correct) / static_cast<double>(result.samples);
  }
  return result;
}

}  // namespace lockstep
