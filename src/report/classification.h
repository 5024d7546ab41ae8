// What predictions are worth: scores by class and calibration.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "lockstep/records/mistakes.h"
#include "lockstep/records/predictions.h"

namespace lockstep::report {

/// Rows: labels; columns: predictions.
using Confusion = std::vector<std::vector<std::int64_t>>;

/// The prediction is the first largest logit. A logit that is not a number is never the largest,
/// unless it is the first.
Confusion confusion_of(const Predictions& predictions);

/// Empty where the denominator is 0: no sample was predicted as (precision), or belongs to
/// (recall), the class.
struct ClassScores {
  std::int64_t samples = 0;    ///< that belong to the class
  std::int64_t predicted = 0;  ///< that were taken for it
  std::int64_t correct = 0;
  std::optional<double> precision;  ///< correct / predicted
  std::optional<double> recall;     ///< correct / samples
  std::optional<double> f1;         ///< 2 correct / (samples + predicted)
};
std::vector<ClassScores> class_scores(const Confusion& confusion);

struct CalibrationBin {
  double low = 0;  ///< confidence in (low, high]; the first bin holds 0 too
  double high = 0;
  std::int64_t samples = 0;
  double confidence = 0;  ///< mean probability of the predicted class; 0 without samples
  double accuracy = 0;    ///< 0 without samples
};

/// Reliability by equal bins of confidence, and the expected calibration error: the mean over
/// samples of |accuracy - confidence| of their bin (Naeini, Cooper and Hauskrecht, "Obtaining well
/// calibrated probabilities using Bayesian binning", AAAI 2015).
struct Calibration {
  std::vector<CalibrationBin> bins;
  double expected_error = 0;
  double confidence = 0;  ///< mean over all samples
};
Calibration calibration_of(const Predictions& predictions, int bins);

}  // namespace lockstep::report
