// What predictions say, and which of them are the most wrong.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "lockstep/records/predictions.h"

namespace lockstep {

/// The first largest logit of a sample. A logit that is not a number is never the largest, unless
/// it is the first.
std::size_t predicted_class(const Predictions& predictions, std::size_t sample);

/// In double, into `probabilities` of the same size (>= 1). All are NaN where a
/// logit is NaN or the largest one infinite.
void softmax(std::span<const float> logits, std::span<double> probabilities);
/// The softmax of each sample: [n, classes].
std::vector<double> probabilities_of(const Predictions& predictions);

/// A misclassified sample.
struct Mistake {
  std::int64_t sample = 0;  ///< its index in the data set
  int label = 0;
  int predicted = 0;
  double label_probability = 0;
  double predicted_probability = 0;
  double gap() const { return predicted_probability - label_probability; }
};
/// The `most` with the largest gap, largest first; equal ones in the order of the samples.
std::vector<Mistake> worst_mistakes(const Predictions& predictions, std::size_t most);

}  // namespace lockstep
