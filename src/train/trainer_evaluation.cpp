// The parts of Trainer that evaluate: after each epoch, with the decision that follows, and at the
// end.
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty_like.h>

#include <cmath>
#include <cstring>
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

Predictions make_predictions(const std::string& split, const Cursor& made_after,
                             std::int64_t weights_step, std::vector<float> logits,
                             const Dataset& data, std::span<const std::uint32_t> indices) {
  return {.split = split,
          .epoch = made_after.epoch,
          .step = made_after.global_step,
          .weights_step = weights_step,
          .classes = kClasses,
          .logits = std::move(logits),
          .labels = labels_at(data, indices),
          .samples = {indices.begin(), indices.end()}};
}

}  // namespace

std::vector<float> Trainer::validate() {
  if (average_) swap_in_average();
  std::vector<float> logits = evaluator_.logits(data_, split_.validation, [this] {
    reach(FaultPlace::kValidation, state_.cursor.global_step);
  });
  if (average_) swap_in_average();
  return logits;
}

// On the root one entry a rank; elsewhere nothing.
std::vector<PhaseSeconds> Trainer::gather_seconds() {
  std::vector<std::vector<std::byte>> parts;
  world_.gather_bytes(std::as_bytes(std::span(&epoch_seconds_, 1)), parts);
  std::vector<PhaseSeconds> by_rank(parts.size());
  for (std::size_t rank = 0; rank < parts.size(); ++rank) {
    LOCKSTEP_CHECK(parts[rank].size() == sizeof(PhaseSeconds), "rank {} gave {} bytes", rank,
                   parts[rank].size());
    std::memcpy(&by_rank[rank], parts[rank].data(), sizeof(PhaseSeconds));
  }
  return by_rank;
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
  const bool has_validation = !split_.validation.empty();
  std::vector<float> logits;
  if (has_validation) logits = validate();
  Evaluation validation;
  if (has_validation && world_.is_root()) {
    validation = summarise(logits, labels_at(data_, split_.validation), kClasses);
  }
  const std::string& monitor = config_.schedule.monitor;
  const double rate = schedule_->rate(state_.cursor.global_step - 1);
  Decision decision;
  if (world_.is_root()) {
    const LossSums& sums = state_.epoch_sums;
    const auto samples = static_cast<double>(sums.samples);
    // Without a validation split the training metric is the only one there is.
    const double loss = has_validation ? validation.loss : sums.loss / samples;
    const double accuracy =
        has_validation ? validation.accuracy : static_cast<double>(sums.correct) / samples;
    decision = decide(state_, monitor, monitor == "loss" ? loss : accuracy,
                      config_.train.early_stopping, *schedule_);
    decision.loss = loss;
  }
  decision = world_.broadcast_value(decision);
  if (!std::isfinite(decision.loss)) {
    fail_together(world_, ExitCode::kDiverged,
                  fmt::format("epoch {}: the validation loss is not finite; a smaller "
                              "--learning-rate may help",
                              decision.epoch));
  }
  apply(decision, state_.cursor, state_, *schedule_);
  stop_early_ = decision.stop != 0;
  const std::vector<PhaseSeconds> seconds = gather_seconds();
  together(world_, [&] {
    if (records_ == nullptr) return;
    const std::int64_t epoch = state_.cursor.epoch + 1;
    records_->write_train(state_, rate, seconds);
    if (has_validation) {
      records_->write_evaluation("validation", epoch, state_.cursor.global_step, validation,
                                 watch.seconds());
    }
    if (has_validation) {
      const std::int64_t step = state_.cursor.global_step;
      const Predictions predictions =
          make_predictions("validation", {.epoch = epoch, .global_step = step}, step,
                           std::move(logits), data_, split_.validation);
      records_->write_pictures(predictions, validation, data_);
      if (decision.best != 0) records_->write_predictions(predictions);
    }
    records_->write_decision(decision, state_.cursor.global_step, monitor);
    records_->end_epoch(state_, validation, rate);
  });
  ++state_.cursor.epoch;
  state_.cursor.step_in_epoch = 0;
  state_.epoch_sums = {};
}

// On the root alone: fills `host` with the best weights; false, with a warning, where there are
// none.
bool Trainer::read_best_weights(at::Tensor& host) const {
  if (store_ == nullptr || !state_.best) return false;
  const auto directory = store_->find(state_.best->global_step);
  if (!directory) {
    log_warning("the best checkpoint, of step {}, is not there: the last weights are evaluated",
                state_.best->global_step);
    return false;
  }
  try {
    const auto loaded = load_checkpoint(*directory, [this] { world_.publish_progress(); });
    at::Tensor read = at::empty_like(host);
    decode_evaluation_weights(loaded, parameters_.views(), read);
    host = read;
    return true;
  } catch (const Error& error) {
    log_warning("{}: the last weights are evaluated", error.what());
    return false;
  }
}

std::optional<Trainer::TestResult> Trainer::evaluate_best(const Dataset& data) {
  world_.enter_phase(Phase::kEvaluation);
  const Stopwatch watch;
  at::Tensor host = (average_ ? *average_ : parameters_.weights()).cpu().clone();
  bool best = false;
  together(world_, [&] {
    if (world_.is_root()) best = read_best_weights(host);
  });
  const at::NoGradGuard no_grad;
  at::Tensor weights = parameters_.weights();
  const at::Tensor current = weights.clone();
  if (world_.is_root()) weights.copy_(host);
  broadcast_flat(weights, "weights to evaluate");
  const std::vector<std::uint32_t> indices = all_indices(data);
  std::vector<float> logits = evaluator_.logits(data, indices);
  weights.copy_(current);
  std::optional<TestResult> result;
  together(world_, [&] {
    if (!world_.is_root()) return;
    result = {.evaluation = summarise(logits, labels_at(data, indices), kClasses), .best = best};
    if (records_ == nullptr) return;
    records_->write_evaluation("test", state_.cursor.epoch, state_.cursor.global_step,
                               result->evaluation, watch.seconds());
    const std::int64_t weights_step = best ? state_.best->global_step : state_.cursor.global_step;
    const Predictions predictions =
        make_predictions("test", state_.cursor, weights_step, std::move(logits), data, indices);
    records_->write_pictures(predictions, result->evaluation, data);
    records_->write_predictions(predictions);
  });
  return result;
}

}  // namespace lockstep
