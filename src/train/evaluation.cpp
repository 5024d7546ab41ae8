#include "lockstep/train/evaluation.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "lockstep/base/cast.h"
#include "lockstep/base/error.h"
#include "lockstep/data/batch.h"
#include "lockstep/data/sampler.h"

namespace lockstep {

Evaluation summarise(std::span<const float> logits, std::span<const std::uint8_t> labels,
                     std::int64_t classes) {
  const auto width = checked_cast<std::size_t>(classes);
  LOCKSTEP_CHECK(logits.size() == labels.size() * width, "{} logits for {} labels of {} classes",
                 logits.size(), labels.size(), classes);
  Evaluation result;
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
    result.accuracy = static_cast<double>(correct) / static_cast<double>(result.samples);
  }
  return result;
}

Evaluator::Evaluator(World& world, const ComputeDevice& device, Network& network,
                     std::int64_t chunk, bool root_only)
    : world_(world), device_(device), network_(network), chunk_(chunk), root_only_(root_only) {
  LOCKSTEP_CHECK(chunk >= 1, "an evaluation batch of {}", chunk);
}

std::vector<float> Evaluator::chunk_logits(const Dataset& dataset,
                                           std::span<const std::uint32_t> indices) {
  const BatchMaker batches(dataset, AugmentationOptions{}, /*seed=*/0);
  at::Tensor images = at::empty(
      {checked_cast<std::int64_t>(indices.size()), dataset.channels, dataset.height, dataset.width},
      at::kFloat);
  batches.fill(indices, /*epoch=*/0, /*augment=*/false, images.mutable_data_ptr<float>(), nullptr);
  const at::Tensor logits =
      network_.forward(images.to(device_.device), StepContext{}).to(at::kCPU).contiguous();
  const float* first = logits.const_data_ptr<float>();
  return {first, first + logits.numel()};
}

std::vector<float> Evaluator::logits(const Dataset& dataset, std::span<const std::uint32_t> indices,
                                     const std::function<void()>& before_chunk) {
  const at::NoGradGuard no_grad;
  network_.eval();
  const auto total = checked_cast<std::int64_t>(indices.size());
  const Range chunks{0, total / chunk_ + (total % chunk_ != 0 ? 1 : 0)};
  Range mine = shard_of(chunks, world_.rank(), world_.size());
  if (root_only_) mine = world_.is_root() ? chunks : Range{};
  std::vector<float> own;
  for (std::int64_t chunk = mine.begin; chunk < mine.end; ++chunk) {
    if (before_chunk) before_chunk();
    const std::int64_t begin = chunk * chunk_;
    const std::int64_t count = std::min(chunk_, total - begin);
    const auto part = chunk_logits(dataset, indices.subspan(checked_cast<std::size_t>(begin),
                                                            checked_cast<std::size_t>(count)));
    own.insert(own.end(), part.begin(), part.end());
    world_.publish_progress();
  }
  network_.train();
  if (root_only_) return own;

  std::vector<std::vector<std::byte>> parts;
  world_.gather_bytes(std::as_bytes(std::span(own)), parts);
  std::vector<float> all;
  for (const auto& part : parts) {
    const std::size_t have = all.size();
    all.resize(have + part.size() / sizeof(float));
    if (!part.empty()) std::memcpy(all.data() + have, part.data(), part.size());
  }
  return all;
}

std::vector<std::uint8_t> labels_at(const Dataset& dataset,
                                    std::span<const std::uint32_t> indices) {
  std::vector<std::uint8_t> labels;
  labels.reserve(indices.size());
  for (const std::uint32_t index : indices) labels.push_back(dataset.labels.at(index));
  return labels;
}

std::vector<std::uint32_t> all_indices(const Dataset& dataset) {
  std::vector<std::uint32_t> indices(checked_cast<std::size_t>(dataset.count));
  std::iota(indices.begin(), indices.end(), 0u);
  return indices;
}

}  // namespace lockstep
