// The parts of Trainer that evaluate: after each epoch, with the decision that follows, and at the
// end.
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty_like.h>

#include <cmath>
#include <span>
#include <utility>

#include "checkpoint_files.h"
#include "lockstep/base/error.h"
#include "lockstep/base/log.h"
#include "lockstep/comm/together.h"
#include "lockstep/sync/replica_check.h"
#include "lockstep/train/trainer.h"

namespace lockstep {

namespace {

// A classifier's; its targets are labels.
Predictions make_predictions(const std::string& split, const Cursor& made_after,
                             std::int64_t weights_step, std::int64_t classes,
                             std::vector<float> logits, const at::Tensor& targets,
                             std::span<const std::uint32_t> indices) {
  return {.split = split,
          .epoch = made_after.epoch,
          .step = made_after.global_step,
          .weights_step = weights_step,
          .classes = classes,
          .logits = std::move(logits),
          .labels = narrow_labels(targets),
          .samples = {indices.begin(), indices.end()}};
}

}  // namespace

std::vector<float> Trainer::validate() {
  if (average_) swap_in_average();
  std::vector<float> rows =
      evaluator_.rows(*task_.data, *task_.objective, task_.split.validation,
                      [this] { reach(FaultPlace::kValidation, state_.cursor.global_step); });
  // A module may write to them in an evaluation too, of which each rank makes another part.
  parameters_.buffers().restore();
  if (average_) swap_in_average();
  return rows;
}

// On the root one entry a rank; elsewhere nothing.
std::vector<PhaseSeconds> Trainer::gather_seconds() {
  return world_.gather_values(std::span<const PhaseSeconds>(&epoch_seconds_, 1));
}

void Trainer::swap_in_average() {
  const at::NoGradGuard no_grad;
  at::Tensor weights = parameters_.weights();
  const at::Tensor raw = weights.clone();
  weights.copy_(*average_);
  average_->copy_(raw);
}

void Trainer::end_epoch() {
  if (state_.epoch_sums.samples == 0) {
    fail_together(world_, ExitCode::kDiverged,
                  fmt::format("epoch {}: the update of every step was left out, its gradient not "
                              "being finite; a smaller --learning-rate may help",
                              state_.cursor.epoch + 1));
  }
  require_equal_replicas(fmt::format("end of epoch {}", state_.cursor.epoch + 1));
  world_.enter_phase(Phase::kValidation);
  const Stopwatch watch;
  const bool has_validation = !task_.split.validation.empty();
  const Objective& objective = *task_.objective;
  std::vector<float> rows;
  if (has_validation) rows = validate();
  Evaluation validation;
  at::Tensor targets;
  if (has_validation && world_.is_root()) {
    if (objective.classes() > 0) targets = targets_at(*task_.data, task_.split.validation);
    validation = objective.summarise(rows, targets);
  }
  const std::string& monitor = config_.schedule.monitor;
  const double rate = schedule_->rate(state_.cursor.global_step - 1);
  Decision decision;
  if (world_.is_root()) {
    const LossSums& sums = state_.epoch_sums;
    // Without a validation split the training metric is the only one there is.
    const double loss = has_validation ? validation.loss : sums.mean_loss();
    const double metric = has_validation ? validation.metric : sums.mean_metric();
    decision = decide(state_, monitor, monitor == "loss" ? loss : metric,
                      config_.train.early_stopping, *schedule_);
    decision.loss = loss;
  }
  decision = world_.broadcast_value(decision);
  if (!std::isfinite(decision.loss)) {
    fail_together(world_, ExitCode::kDiverged,
                  fmt::format("epoch {}: the {} is not finite; a smaller --learning-rate may help",
                              decision.epoch, judged_metric(has_validation, "loss")));
  }
  apply(decision, state_.cursor, state_, *schedule_);
  stop_early_ = decision.stop != 0;
  const std::vector<PhaseSeconds> seconds = gather_seconds();
  record([&] {
    const std::int64_t epoch = state_.cursor.epoch + 1;
    records_->write_train(state_, rate, seconds);
    if (has_validation) {
      records_->write_evaluation("validation", epoch, state_.cursor.global_step, validation,
                                 watch.seconds());
    }
    if (has_validation && objective.classes() > 0) {
      const std::int64_t step = state_.cursor.global_step;
      const Predictions predictions =
          make_predictions("validation", {.epoch = epoch, .global_step = step}, step,
                           objective.classes(), std::move(rows), targets, task_.split.validation);
      records_->write_pictures(predictions, validation, task_.data->images());
      if (decision.best != 0) {
        records_->write_predictions(predictions, [this] { world_.publish_progress(); });
      }
    }
    records_->write_decision(decision, state_.cursor.global_step, monitor, has_validation);
    records_->end_epoch(state_, validation, rate);
  });
  ++state_.cursor.epoch;
  state_.cursor.step_in_epoch = 0;
  if (calls(task_.callbacks.on_decision)) task_.callbacks.on_decision(decision);
  if (calls(task_.callbacks.on_epoch)) {
    task_.callbacks.on_epoch(
        {.cursor = state_.cursor,
         .training_loss = state_.epoch_sums.mean_loss(),
         .training_metric = state_.epoch_sums.mean_metric(),
         .decision = decision,
         .validation = has_validation && world_.is_root() ? &validation : nullptr});
  }
  state_.epoch_sums = {};
}

// On the root alone: fills `host` with the best weights; false, with a warning, where there are
// none.
bool Trainer::read_best_weights(at::Tensor& host, at::Tensor& buffer_values) const {
  if (store_ == nullptr || !state_.best) return false;
  const auto directory = store_->find(state_.best->global_step);
  if (!directory) {
    log_warning("the best checkpoint, of step {}, is not there: the last weights are evaluated",
                state_.best->global_step);
    return false;
  }
  try {
    const auto loaded = load_checkpoint(*directory, [this] { world_.publish_progress(); });
    at::Tensor weights = at::empty_like(host);
    at::Tensor values = buffer_values.clone();
    decode_evaluation_weights(loaded, parameters_, weights, values);
    host = weights;
    buffer_values = values;
    return true;
  } catch (const Error& error) {
    log_warning("{}: the last weights are evaluated", error.what());
    return false;
  }
}

std::optional<Trainer::TestResult> Trainer::evaluate_best(const SampleSource& data) {
  world_.enter_phase(Phase::kEvaluation);
  const Stopwatch watch;
  at::Tensor host = (average_ ? *average_ : parameters_.weights()).cpu().clone();
  at::Tensor host_values = parameters_.buffers().values().cpu().clone();
  bool best = false;
  together(world_, [&] {
    if (!world_.is_root()) return;
    wait_for_writer();  // the best may be under way
    best = read_best_weights(host, host_values);
  });
  const at::NoGradGuard no_grad;
  at::Tensor weights = parameters_.weights();
  at::Tensor values = parameters_.buffers().values();
  const at::Tensor current = weights.clone();
  const at::Tensor current_values = values.clone();
  if (world_.is_root()) {
    weights.copy_(host);
    values.copy_(host_values);
  }
  broadcast_flat(weights, "weights to evaluate");
  broadcast_flat(values, "buffers to evaluate with");
  parameters_.buffers().restore();
  const Objective& objective = *task_.objective;
  const std::vector<std::uint32_t> indices = all_indices(data.size());
  std::vector<float> rows = evaluator_.rows(data, objective, indices);
  weights.copy_(current);
  values.copy_(current_values);
  parameters_.buffers().restore();
  std::optional<TestResult> result;
  together(world_, [&] {
    if (!world_.is_root()) return;
    at::Tensor targets;
    if (objective.classes() > 0) targets = targets_at(data, indices);
    result = {.evaluation = objective.summarise(rows, targets), .best = best};
    if (records_ == nullptr) return;
    records_->write_evaluation("test", state_.cursor.epoch, state_.cursor.global_step,
                               result->evaluation, watch.seconds());
    // No checkpoint follows that would do it.
    records_->sync();
    records_->require_in_place();
    if (objective.classes() == 0) return;
    const std::int64_t weights_step = best ? state_.best->global_step : state_.cursor.global_step;
    const Predictions predictions =
        make_predictions("test", state_.cursor, weights_step, objective.classes(), std::move(rows),
                         targets, indices);
    records_->write_pictures(predictions, result->evaluation, data.images());
    records_->write_predictions(predictions, [this] { world_.publish_progress(); });
  });
  return result;
}

}  // namespace lockstep
