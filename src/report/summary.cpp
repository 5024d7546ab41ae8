#include "report/summary.h"

#include <algorithm>

namespace lockstep::report {

namespace {

void add_times(Summary& summary, const History& history) {
  double samples = 0;
  for (const TrainingRecord& epoch : history.epochs) {
    const double seconds = total(epoch.seconds);
    summary.training_seconds += seconds;
    samples += epoch.samples_per_second * seconds;
  }
  if (summary.training_seconds > 0) summary.throughput = samples / summary.training_seconds;

  // A run that went on with other ranks: those of its last epoch.
  const std::size_t ranks = history.epochs.empty() ? 0 : history.epochs.back().by_rank.size();
  summary.all_ranks = ranks > 0;
  if (!history.epochs.empty()) summary.by_rank.resize(std::max<std::size_t>(ranks, 1));
  for (const TrainingRecord& epoch : history.epochs) {
    if (epoch.by_rank.size() != ranks) continue;
    for (std::size_t rank = 0; rank < summary.by_rank.size(); ++rank) {
      const PhaseTimes& times = ranks > 0 ? epoch.by_rank[rank] : epoch.seconds;
      for (std::size_t p = 0; p < times.size(); ++p) summary.by_rank[rank][p] += times[p];
    }
  }
}

}  // namespace

Summary summarise(const History& history) {
  Summary summary;
  summary.best = history.best_validation();
  summary.judged = history.test ? &*history.test : summary.best;
  // Of a run that goes on in a new directory the best validation may lie in the old one.
  if (summary.judged == nullptr && !history.validations.empty()) {
    summary.judged = &history.validations.back();
  }
  summary.split = history.test ? "test" : "validation";
  const auto& predictions =
      history.test ? history.test_predictions : history.validation_predictions;
  if (predictions && summary.judged != nullptr && predictions->step == summary.judged->step) {
    summary.predictions = &*predictions;
  }
  if (summary.judged != nullptr && !summary.judged->confusion.empty()) {
    summary.classes = class_scores(summary.judged->confusion);
    summary.errors = summary.judged->samples;
    for (const ClassScores& score : summary.classes) summary.errors -= score.correct;
  }
  if (summary.predictions != nullptr) {
    summary.calibration = calibration_of(*summary.predictions, kCalibrationBins);
  }
  summary.epochs_done = history.epochs_done();
  summary.last_step = history.last_step();
  if (!history.epochs.empty()) {
    const TrainingRecord& last = history.epochs.back();
    summary.steps_per_epoch =
        static_cast<double>(last.step) / static_cast<double>(std::max<std::int64_t>(last.epoch, 1));
  }
  add_times(summary, history);
  return summary;
}

double position(const Summary& summary, std::int64_t step) {
  const auto value = static_cast<double>(step);
  return summary.steps_per_epoch > 0 ? value / summary.steps_per_epoch : value;
}

}  // namespace lockstep::report
