#include "lockstep/train/decision.h"

#include <fmt/core.h>

namespace lockstep {

bool is_better(const std::string& monitor, double metric, double best) {
  return monitor == "loss" ? metric < best : metric > best;
}

Decision decide(const TrainingState& state, const std::string& monitor, double metric,
                int early_stopping, Schedule& schedule) {
  Decision decision;
  decision.epoch = state.cursor.epoch + 1;
  decision.metric = metric;
  decision.rate_before = schedule.base_rate();
  if (state.best) {
    decision.has_best_before = 1;
    decision.best_before = state.best->metric;
  }
  // A first metric that is not a number must not become the one to beat.
  const bool first = !state.best && metric == metric;
  decision.best = first || (state.best && is_better(monitor, metric, state.best->metric)) ? 1 : 0;
  decision.epochs_without_gain = decision.best != 0 ? 0 : state.epochs_without_gain + 1;
  decision.stop = early_stopping > 0 && decision.epochs_without_gain >= early_stopping ? 1 : 0;
  schedule.observe(metric);
  decision.rate_after = schedule.base_rate();
  return decision;
}

void apply(const Decision& decision, const Cursor& cursor, TrainingState& state,
           Schedule& schedule) {
  schedule.set_base_rate(decision.rate_after);
  state.epochs_without_gain = decision.epochs_without_gain;
  if (decision.best != 0) {
    state.best =
        Best{.metric = decision.metric, .epoch = decision.epoch, .global_step = cursor.global_step};
  }
}

std::string judged_metric(bool has_validation, const std::string& monitor) {
  return fmt::format("{} {}", has_validation ? "validation" : "training", monitor);
}

std::string reason_text(const Decision& decision, const std::string& metric) {
  std::string text = decision.best != 0
                         ? fmt::format("best {} so far", metric)
                         : fmt::format("no gain for {} epoch{}", decision.epochs_without_gain,
                                       decision.epochs_without_gain == 1 ? "" : "s");
  if (decision.rate_after != decision.rate_before) {
    text += fmt::format(": learning rate {} -> {}", decision.rate_before, decision.rate_after);
  }
  if (decision.stop != 0) text += ": early stop";
  return text;
}

}  // namespace lockstep
