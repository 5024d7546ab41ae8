// What the root concludes after an epoch's validation, or without a validation split from its
// training; it travels as bytes and every rank applies it.
#pragma once

#include <cstdint>
#include <string>

#include "lockstep/optim/schedule.h"
#include "lockstep/train/training_state.h"

namespace lockstep {

struct Decision {
  std::int64_t epoch = 0;  ///< the epoch that has ended, from 1
  double loss = 0;         ///< of this validation
  double metric = 0;       ///< the monitored metric of this validation
  double best_before = 0;  ///< the best one before it; meaningless when has_best_before is 0
  double rate_before = 0;  ///< Schedule::base_rate() before and after
  double rate_after = 0;
  std::int32_t has_best_before = 0;
  std::int32_t best = 0;  ///< this is the best validation so far
  std::int32_t stop = 0;  ///< early stopping
  std::int32_t epochs_without_gain = 0;
};

/// Whether `metric` beats `best` for monitor "accuracy" (higher) or "loss" (lower). NaN never does.
bool is_better(const std::string& monitor, double metric, double best);

/// On the root alone: lets the schedule observe the metric and decides. Does not change `state`.
Decision decide(const TrainingState& state, const std::string& monitor, double metric,
                int early_stopping, Schedule& schedule);

/// On every rank: takes the decision over into state and schedule.
void apply(const Decision& decision, const Cursor& cursor, TrainingState& state,
           Schedule& schedule);

/// The metric that is monitored, in words: "validation accuracy", and without a validation split
/// "training accuracy".
std::string judged_metric(bool has_validation, const std::string& monitor);

/// Why, in words: "no gain for 3 epochs: learning rate 0.001 -> 0.0005". metric: judged_metric().
std::string reason_text(const Decision& decision, const std::string& metric);

}  // namespace lockstep
