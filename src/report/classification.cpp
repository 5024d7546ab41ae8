#include "report/classification.h"

#include <algorithm>
#include <cmath>

namespace lockstep::report {

namespace {

std::size_t classes_of(const Predictions& predictions) {
  return static_cast<std::size_t>(predictions.classes);
}

std::optional<double> ratio(std::int64_t part, std::int64_t whole) {
  if (whole == 0) return std::nullopt;
  return static_cast<double>(part) / static_cast<double>(whole);
}

}  // namespace

Confusion confusion_of(const Predictions& predictions) {
  const std::size_t classes = classes_of(predictions);
  Confusion confusion(classes, std::vector<std::int64_t>(classes, 0));
  for (std::size_t i = 0; i < predictions.labels.size(); ++i) {
    ++confusion[predictions.labels[i]][predicted_class(predictions, i)];
  }
  return confusion;
}

std::vector<ClassScores> class_scores(const Confusion& confusion) {
  std::vector<ClassScores> scores(confusion.size());
  for (std::size_t label = 0; label < confusion.size(); ++label) {
    for (std::size_t predicted = 0; predicted < confusion.size(); ++predicted) {
      scores[label].samples += confusion[label][predicted];
      scores[predicted].predicted += confusion[label][predicted];
    }
    scores[label].correct = confusion[label][label];
  }
  for (ClassScores& score : scores) {
    score.precision = ratio(score.correct, score.predicted);
    score.recall = ratio(score.correct, score.samples);
    score.f1 = ratio(2 * score.correct, score.samples + score.predicted);
  }
  return scores;
}

Calibration calibration_of(const Predictions& predictions, int bins) {
  Calibration result;
  for (int b = 0; b < bins; ++b) {
    result.bins.push_back(
        {.low = static_cast<double>(b) / bins, .high = static_cast<double>(b + 1) / bins});
  }
  const std::vector<double> probabilities = probabilities_of(predictions);
  const std::size_t classes = classes_of(predictions);
  for (std::size_t i = 0; i < predictions.labels.size(); ++i) {
    const std::size_t predicted = predicted_class(predictions, i);
    const double confidence = probabilities[i * classes + predicted];
    // Not by a product, whose rounding could put a bound into the wrong bin.
    const auto bin = std::ranges::lower_bound(result.bins, confidence, {}, &CalibrationBin::high);
    CalibrationBin& own = bin == result.bins.end() ? result.bins.back() : *bin;
    ++own.samples;
    own.confidence += confidence;
    own.accuracy += predicted == predictions.labels[i] ? 1 : 0;
    result.confidence += confidence;
  }
  const auto all = static_cast<double>(predictions.labels.size());
  if (all == 0) return result;
  result.confidence /= all;
  for (CalibrationBin& bin : result.bins) {
    if (bin.samples == 0) continue;
    result.expected_error += std::abs(bin.accuracy - bin.confidence) / all;
    bin.confidence /= static_cast<double>(bin.samples);
    bin.accuracy /= static_cast<double>(bin.samples);
  }
  return result;
}

}  // namespace lockstep::report
