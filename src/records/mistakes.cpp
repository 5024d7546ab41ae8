#include "lockstep/records/mistakes.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <span>

namespace lockstep {

namespace {

std::size_t classes_of(const Predictions& predictions) {
  return static_cast<std::size_t>(predictions.classes);
}

std::span<const float> logits_of(const Predictions& predictions, std::size_t sample) {
  const std::size_t classes = classes_of(predictions);
  return std::span(predictions.logits).subspan(sample * classes, classes);
}

}  // namespace

std::size_t predicted_class(const Predictions& predictions, std::size_t sample) {
  const auto logits = logits_of(predictions, sample);
  return static_cast<std::size_t>(std::ranges::max_element(logits) - logits.begin());
}

void softmax(std::span<const float> logits, std::span<double> probabilities) {
  const double largest = *std::ranges::max_element(logits);
  double sum = 0;
  for (std::size_t c = 0; c < logits.size(); ++c) {
    probabilities[c] = std::exp(static_cast<double>(logits[c]) - largest);
    sum += probabilities[c];
  }
  for (double& probability : probabilities) probability /= sum;
}

std::vector<double> probabilities_of(const Predictions& predictions) {
  const std::size_t classes = classes_of(predictions);
  std::vector<double> probabilities(predictions.logits.size());
  for (std::size_t i = 0; i < predictions.labels.size(); ++i) {
    softmax(logits_of(predictions, i), std::span(probabilities).subspan(i * classes, classes));
  }
  return probabilities;
}

std::vector<Mistake> worst_mistakes(const Predictions& predictions, std::size_t most) {
  const std::vector<double> probabilities = probabilities_of(predictions);
  const std::size_t classes = classes_of(predictions);
  std::vector<Mistake> mistakes;
  for (std::size_t i = 0; i < predictions.labels.size(); ++i) {
    const std::size_t label = predictions.labels[i];
    const std::size_t predicted = predicted_class(predictions, i);
    if (predicted == label) continue;
    mistakes.push_back({.sample = predictions.samples[i],
                        .label = static_cast<int>(label),
                        .predicted = static_cast<int>(predicted),
                        .label_probability = probabilities[i * classes + label],
                        .predicted_probability = probabilities[i * classes + predicted]});
  }
  // A gap that is not a number has no place in an order: last.
  std::ranges::stable_sort(mistakes, std::ranges::greater{}, [](const Mistake& mistake) {
    return std::isnan(mistake.gap()) ? -1 : mistake.gap();
  });
  if (mistakes.size() > most) mistakes.resize(most);
  return mistakes;
}

}  // namespace lockstep
