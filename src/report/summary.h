// The numbers of a run that a page shows in more than one place, each computed once.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lockstep/report/history.h"
#include "report/classification.h"

namespace lockstep::report {

inline constexpr int kCalibrationBins = 15;

/// Pointers are into the history, which must stay where it is.
struct Summary {
  /// The evaluation that the page judges the run by: of the test data, else the best validation,
  /// else the last one, else none.
  const EvaluationRecord* judged = nullptr;
  std::string split;                         ///< its data: "test" or "validation"
  const Predictions* predictions = nullptr;  ///< behind it, if they are there
  std::int64_t errors = 0;                   ///< misclassified samples in it
  std::vector<ClassScores> classes;
  std::optional<Calibration> calibration;

  const EvaluationRecord* best = nullptr;  ///< the best validation so far, by the monitored metric
  std::int64_t epochs_done = 0;
  std::int64_t last_step = 0;
  double training_seconds = 0;       ///< the root's, over all complete epochs; no validation
  std::optional<double> throughput;  ///< samples a second over those
  std::vector<PhaseTimes> by_rank;   ///< over the epochs that have them; else the root's alone
  bool all_ranks = false;            ///< whether by_rank is of every rank
  double steps_per_epoch = 0;        ///< 0: not known yet
};

Summary summarise(const History& history);

/// Where a global step lies on an axis of epochs; of steps when their number is not known.
double position(const Summary& summary, std::int64_t step);

/// A run as the sections and charts take it.
struct Run {
  History history;
  Summary summary;
  std::string label;  ///< its name, unique among the runs of a page
};

}  // namespace lockstep::report
