#include "lockstep/train/run_records.h"

#include <fmt/core.h>

#include <cstdio>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>

#include "lockstep/base/cast.h"
#include "lockstep/base/error.h"
#include "lockstep/base/log.h"
#include "lockstep/base/text.h"
#include "lockstep/records/metrics.h"
#include "lockstep/records/mistakes.h"
#include "lockstep/records/picture.h"
#include "lockstep/records/progress.h"
#include "lockstep/records/tensorboard.h"

namespace lockstep {

namespace {

using Json = nlohmann::ordered_json;

Json to_json(const PhaseSeconds& seconds) {
  return {{"data", seconds.data},           {"forward", seconds.forward},
          {"backward", seconds.backward},   {"communication", seconds.communication},
          {"optimizer", seconds.optimizer}, {"other", seconds.other}};
}

// One array a phase, an entry a rank.
Json to_json(std::span<const PhaseSeconds> by_rank) {
  Json phases;
  for (const PhaseSeconds& seconds : by_rank) {
    const Json one = to_json(seconds);
    for (const auto& [phase, value] : one.items()) phases[phase].push_back(value);
  }
  return phases;
}

// The worst misclassified images, where they can be shown.
std::vector<PicturedError> pictured_errors(const Predictions& predictions, const Dataset& data) {
  constexpr std::size_t kMost = 24;
  std::vector<PicturedError> errors;
  if (data.channels != 1 && data.channels != 3) return errors;
  const auto size = checked_cast<std::size_t>(data.image_size());
  for (const Mistake& mistake : worst_mistakes(predictions, kMost)) {
    const auto first = checked_cast<std::size_t>(mistake.sample) * size;
    errors.push_back({.picture = picture_of_planes(std::span(data.pixels).subspan(first, size),
                                                   data.channels, data.height, data.width),
                      .label = mistake.label,
                      .predicted = mistake.predicted});
  }
  return errors;
}

double rate(std::int64_t samples, double seconds) {
  return seconds > 0 ? static_cast<double>(samples) / seconds : 0.0;
}

}  // namespace

void PhaseSeconds::add(const PhaseSeconds& other) {
  data += other.data;
  forward += other.forward;
  backward += other.backward;
  communication += other.communication;
  optimizer += other.optimizer;
  this->other += other.other;
}

struct RunRecords::Files {
  Files(const RunDirectory& run_directory, bool be_quiet, const std::string& name_of_metric)
      : directory(run_directory),
        run(directory.path()),
        metrics(directory.metrics()),
        decisions(directory.decisions()),
        quiet(be_quiet),
        metric_name(name_of_metric),
        progress(ProgressOutput::to(stdout), name_of_metric) {}

  EventWriter& board() {
    if (!events) events.emplace(run, resumed_at);
    return *events;
  }

  void write_training(const std::string& kind, const TrainingState& state, const LossSums& sums,
                      double learning_rate, std::int64_t samples, const PhaseSeconds& seconds,
                      std::span<const PhaseSeconds> by_rank = {},
                      std::optional<double> gradient_norm = std::nullopt) {
    const std::int64_t step = state.cursor.global_step;
    const double loss = sums.mean_loss();
    const double speed = rate(samples, seconds.total());
    Json record{{"kind", kind}, {"epoch", state.cursor.epoch + 1}, {"step", step}, {"loss", loss}};
    if (!metric_name.empty()) record[metric_name] = sums.mean_metric();
    record["learning_rate"] = learning_rate;
    if (gradient_norm) record["gradient_norm"] = *gradient_norm;
    record["samples_per_second"] = speed;
    record["seconds"] = to_json(seconds);
    // Within seconds, so that whoever leaves the times out of a comparison leaves these out.
    if (!by_rank.empty()) record["seconds"]["by_rank"] = to_json(by_rank);
    metrics.append(record);
    std::vector<Scalar> scalars{{"loss", loss}};
    if (!metric_name.empty()) scalars.emplace_back(metric_name, sums.mean_metric());
    scalars.emplace_back("learning_rate", learning_rate);
    scalars.emplace_back("samples_per_second", speed);
    if (gradient_norm) scalars.emplace_back("gradient_norm", *gradient_norm);
    write_scalars(kind, step, scalars);
  }

  // metrics.jsonl has them too.
  using Scalar = std::pair<std::string, double>;
  void write_scalars(const std::string& kind, std::int64_t step, std::span<const Scalar> scalars) {
    try_to("TensorBoard will lack numbers", [&] {
      for (const auto& [name, value] : scalars) {
        board().scalar(fmt::format("{}/{}", kind, name), step, value);
      }
    });
  }

  // Does what a run can do without; the first failure of a kind is a warning.
  void try_to(const std::string& lacking, const std::function<void()>& action) {
    try {
      action();
    } catch (...) {
      const Error error = caught_error();
      if (warned.insert(lacking).second) log_warning("{}: {}", lacking, error.what());
    }
  }

  const RunDirectory& directory;
  std::filesystem::path run;
  MetricsFile metrics;
  MetricsFile decisions;
  std::optional<std::int64_t> resumed_at;
  std::optional<EventWriter> events;
  bool quiet;
  std::string metric_name;
  std::set<std::string> warned;
  std::function<void()> first_step;
  Progress progress;
  PhaseSeconds window, epoch;
  // Samples of this start alone: the sums in TrainingState may begin in an earlier one.
  std::int64_t window_samples = 0, epoch_samples = 0;
};

RunRecords::RunRecords(const RunDirectory& directory, bool quiet, const std::string& metric_name)
    : files_(std::make_unique<Files>(directory, quiet, metric_name)) {}

RunRecords::~RunRecords() = default;

void RunRecords::cut_back(const Cursor& cursor) {
  files_->metrics.cut_back(cursor.global_step, "test");
  files_->decisions.cut_back(cursor.global_step);
  if (cursor.global_step > 0) files_->resumed_at = cursor.global_step;
}

void RunRecords::sync() {
  files_->metrics.sync();
  files_->decisions.sync();
}

void RunRecords::require_in_place() const {
  files_->metrics.require_in_place();
  files_->decisions.require_in_place();
}

void RunRecords::begin_epoch(std::int64_t epoch, std::int64_t epochs, std::int64_t steps,
                             std::int64_t done) {
  files_->window = files_->epoch = {};
  files_->window_samples = files_->epoch_samples = 0;
  if (!files_->quiet) files_->progress.begin_epoch(epoch, epochs, steps, done);
}

void RunRecords::at_first_step(std::function<void()> action) {
  files_->first_step = std::move(action);
}

void RunRecords::step_done(std::int64_t step_in_epoch, const LossSums& step,
                           const PhaseSeconds& seconds) {
  Files& files = *files_;
  files.window.add(seconds);
  files.epoch.add(seconds);
  files.window_samples += step.samples;
  files.epoch_samples += step.samples;
  if (const auto action = std::exchange(files.first_step, {})) {
    files.try_to("launch.json will lack the time of the first step", action);
  }
  if (files.quiet) return;
  files.progress.update(step_in_epoch, step.mean_loss(), step.mean_metric(),
                        rate(files.epoch_samples, files.epoch.total()));
}

void RunRecords::write_step(const TrainingState& state, double learning_rate,
                            std::optional<double> gradient_norm) {
  Files& files = *files_;
  files.write_training("step", state, state.window_sums, learning_rate, files.window_samples,
                       files.window, {}, gradient_norm);
  files.window = {};
  files.window_samples = 0;
}

void RunRecords::write_train(const TrainingState& state, double learning_rate,
                             std::span<const PhaseSeconds> by_rank) {
  Files& files = *files_;
  files.write_training("train", state, state.epoch_sums, learning_rate, files.epoch_samples,
                       files.epoch, by_rank);
}

void RunRecords::write_skip(std::int64_t epoch, std::int64_t step, const std::string& tensor,
                            const std::vector<int>& ranks) {
  files_->metrics.append(
      {{"kind", "skip"}, {"epoch", epoch}, {"step", step}, {"tensor", tensor}, {"ranks", ranks}});
}

void RunRecords::write_evaluation(const std::string& kind, std::int64_t epoch, std::int64_t step,
                                  const Evaluation& evaluation, double seconds) {
  Files& files = *files_;
  Json record{{"kind", kind}, {"epoch", epoch}, {"step", step}, {"loss", evaluation.loss}};
  std::vector<Files::Scalar> scalars{{"loss", evaluation.loss}};
  if (!evaluation.metric_name.empty()) {
    record[evaluation.metric_name] = evaluation.metric;
    scalars.emplace_back(evaluation.metric_name, evaluation.metric);
  }
  record["samples"] = evaluation.samples;
  if (!evaluation.confusion.empty()) {
    record["per_class"] = evaluation.class_accuracy;
    record["confusion"] = evaluation.confusion;
  }
  record["samples_per_second"] = rate(evaluation.samples, seconds);
  record["seconds"] = {{"evaluation", seconds}};
  files.metrics.append(record);
  files.write_scalars(kind, step, scalars);
}

void RunRecords::write_pictures(const Predictions& predictions, const Evaluation& evaluation,
                                const Dataset* images) {
  files_->try_to("TensorBoard will lack pictures", [&] {
    EventWriter& board = files_->board();
    board.picture(predictions.split + "/confusion", predictions.step,
                  draw_confusion(evaluation.confusion));
    if (images == nullptr) return;
    const std::vector<PicturedError> errors = pictured_errors(predictions, *images);
    if (errors.empty()) return;
    board.picture(predictions.split + "/errors", predictions.step, draw_errors(errors));
  });
}

void RunRecords::write_predictions(const Predictions& predictions,
                                   const std::function<void()>& progress) {
  files_->try_to("the report will lack the predictions", [&] {
    files_->directory.require_held();  // or else it is another run's by now
    lockstep::write_predictions(files_->run, predictions, progress);
  });
}

void RunRecords::write_decision(const Decision& decision, std::int64_t step,
                                const std::string& monitor, bool has_validation) {
  Json record{{"epoch", decision.epoch},
              {"step", step},
              {"monitor", monitor},
              {"metric_before", nullptr},
              {"metric_after", decision.metric},
              {"learning_rate_before", decision.rate_before},
              {"learning_rate_after", decision.rate_after},
              {"best", decision.best != 0},
              {"stop", decision.stop != 0},
              {"reason", reason_text(decision, judged_metric(has_validation, monitor))}};
  if (decision.has_best_before != 0) record["metric_before"] = decision.best_before;
  files_->decisions.append(record);
}

void RunRecords::end_epoch(const TrainingState& state, const Evaluation& validation,
                           double learning_rate) {
  Files& files = *files_;
  if (files.quiet) return;
  const LossSums& sums = state.epoch_sums;
  std::string line =
      fmt::format("epoch {}: {}", state.cursor.epoch + 1,
                  loss_text(sums.mean_loss(), files.metric_name, sums.mean_metric(), ", "));
  if (validation.samples > 0) {
    line += " | validation: " +
            loss_text(validation.loss, validation.metric_name, validation.metric, ", ");
  }
  line += fmt::format(" | learning rate {} | {:.0f} samples/s, {}", learning_rate,
                      rate(files.epoch_samples, files.epoch.total()),
                      format_duration(files.epoch.total()));
  files.progress.end_epoch(line);
}

}  // namespace lockstep
