#include "report/classification.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "sample_run.h"

namespace lockstep::report {
namespace {

using testing::ElementsAre;

Predictions some(std::uint64_t seed) {
  std::mt19937_64 random(seed);
  const auto classes = static_cast<std::int64_t>(1 + random() % 12);
  std::vector<std::uint8_t> labels(random() % 300);
  for (auto& label : labels) {
    label = static_cast<std::uint8_t>(random() % static_cast<std::uint64_t>(classes));
  }
  return test::random_predictions(seed, labels, classes, static_cast<double>(random() % 8));
}

// By the definition, with no shifting of logits.
double probability(const Predictions& predictions, std::size_t sample, std::int64_t wanted) {
  const auto logit = [&](std::int64_t c) {
    const auto index =
        static_cast<std::size_t>(static_cast<std::int64_t>(sample) * predictions.classes + c);
    return std::exp(static_cast<double>(predictions.logits[index]));
  };
  double sum = 0;
  for (std::int64_t c = 0; c < predictions.classes; ++c) sum += logit(c);
  return logit(wanted) / sum;
}

std::vector<std::int64_t> all_predicted(const Predictions& predictions) {
  std::vector<std::int64_t> all;
  for (std::size_t i = 0; i < predictions.labels.size(); ++i) {
    std::int64_t best = 0;
    for (std::int64_t c = 1; c < predictions.classes; ++c) {
      if (probability(predictions, i, c) > probability(predictions, i, best)) best = c;
    }
    all.push_back(best);
  }
  return all;
}

TEST(ClassScores, AreThoseOfCountingOneSampleAfterTheOther) {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    const Predictions predictions = some(seed);
    const auto scores = class_scores(confusion_of(predictions));
    const auto predicted = all_predicted(predictions);
    ASSERT_EQ(static_cast<std::int64_t>(scores.size()), predictions.classes);
    for (std::int64_t c = 0; c < predictions.classes; ++c) {
      double hit = 0, missed = 0, false_alarm = 0;
      for (std::size_t i = 0; i < predictions.labels.size(); ++i) {
        const bool is = predictions.labels[i] == c, said = predicted[i] == c;
        hit += is && said;
        missed += is && !said;
        false_alarm += !is && said;
      }
      const ClassScores& score = scores[static_cast<std::size_t>(c)];
      EXPECT_EQ(static_cast<double>(score.samples), hit + missed);
      EXPECT_EQ(static_cast<double>(score.predicted), hit + false_alarm);
      ASSERT_EQ(score.precision.has_value(), hit + false_alarm > 0);
      ASSERT_EQ(score.recall.has_value(), hit + missed > 0);
      if (score.precision) {
        EXPECT_DOUBLE_EQ(*score.precision, hit / (hit + false_alarm));
      }
      if (score.recall) {
        EXPECT_DOUBLE_EQ(*score.recall, hit / (hit + missed));
      }
      if (score.precision && score.recall && hit > 0) {
        const double harmonic = 2 / (1 / *score.precision + 1 / *score.recall);
        EXPECT_NEAR(*score.f1, harmonic, 1e-12);
      }
    }
  }
}

TEST(ClassScores, OfAClassThatNobodySaysOrIsAreNone) {
  const auto scores = class_scores({{3, 0, 0}, {1, 0, 0}, {0, 0, 0}});
  EXPECT_DOUBLE_EQ(*scores[0].precision, 0.75);
  EXPECT_EQ(*scores[0].recall, 1);
  EXPECT_FALSE(scores[1].precision);
  EXPECT_EQ(*scores[1].recall, 0);
  EXPECT_EQ(*scores[1].f1, 0);
  EXPECT_FALSE(scores[2].precision || scores[2].recall || scores[2].f1);
}

TEST(Calibration, IsThatOfSortingSamplesIntoBinsByHand) {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    const Predictions predictions = some(seed);
    const int bins = static_cast<int>(1 + seed % 20);
    const Calibration calibration = calibration_of(predictions, bins);
    const auto predicted = all_predicted(predictions);
    double error = 0, confidence_sum = 0;
    std::int64_t samples = 0;
    for (int b = 0; b < bins; ++b) {
      double confidence = 0, right = 0, size = 0;
      for (std::size_t i = 0; i < predictions.labels.size(); ++i) {
        const double p = probability(predictions, i, predicted[i]);
        const bool above = b == 0 || p > static_cast<double>(b) / bins;
        const bool below = b + 1 == bins || p <= static_cast<double>(b + 1) / bins;
        if (!above || !below) continue;
        ++size;
        confidence += p;
        right += predicted[i] == predictions.labels[i];
      }
      const CalibrationBin& bin = calibration.bins[static_cast<std::size_t>(b)];
      EXPECT_EQ(static_cast<double>(bin.samples), size) << seed << " " << b;
      samples += bin.samples;
      confidence_sum += confidence;
      if (size == 0) continue;
      EXPECT_NEAR(bin.confidence, confidence / size, 1e-9);
      EXPECT_NEAR(bin.accuracy, right / size, 1e-12);
      error += size * std::abs(right / size - confidence / size);
    }
    const auto all = static_cast<double>(predictions.labels.size());
    EXPECT_EQ(static_cast<double>(samples), all);
    if (all == 0) continue;
    EXPECT_NEAR(calibration.expected_error, error / all, 1e-9);
    EXPECT_NEAR(calibration.confidence, confidence_sum / all, 1e-9);
  }
}

TEST(Calibration, OfOneWhoIsAlwaysSureAndRightIsPerfect) {
  const Predictions sure{.split = "test",
                         .classes = 2,
                         .logits = {900, 0, 0, 900},
                         .labels = {0, 1},
                         .samples = {0, 1}};
  EXPECT_EQ(calibration_of(sure, 10).expected_error, 0);
  EXPECT_EQ(calibration_of(sure, 10).bins.back().samples, 2);
  Predictions wrong = sure;
  wrong.labels = {1, 0};
  EXPECT_EQ(calibration_of(wrong, 10).expected_error, 1);
}

TEST(Softmax, IsExactWhereItCanBeAndNoNumberWhereItIsNone) {
  const auto of = [](std::vector<float> logits) {
    std::vector<double> probabilities(logits.size());
    softmax(logits, probabilities);
    return probabilities;
  };
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  EXPECT_THAT(of({3}), testing::ElementsAre(1));
  EXPECT_THAT(of({5, 5, 5, 5}), testing::Each(0.25));
  EXPECT_THAT(of({3e38f, 0}), testing::ElementsAre(1, 0));  // no overflow
  EXPECT_THAT(of({-kInfinity, 7, 7}), testing::ElementsAre(0, 0.5, 0.5));
  for (const float wrong : {kInfinity, std::nanf("")}) {
    for (const double p : of({1, wrong, 2})) EXPECT_TRUE(std::isnan(p));
    for (const double p : of({wrong, 1, 2})) EXPECT_TRUE(std::isnan(p));
  }
  for (const double p : of({-kInfinity, -kInfinity})) EXPECT_TRUE(std::isnan(p));
}

TEST(Mistakes, AreAllThatAreWrongWithTheLargestGapFirst) {
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    const Predictions predictions = some(seed);
    const auto mistakes = worst_mistakes(predictions, 1000);
    const auto predicted = all_predicted(predictions);
    std::size_t wrong = 0;
    std::vector<double> gaps;
    for (std::size_t i = 0; i < predictions.labels.size(); ++i) {
      if (predicted[i] == predictions.labels[i]) continue;
      ++wrong;
      gaps.push_back(probability(predictions, i, predicted[i]) -
                     probability(predictions, i, predictions.labels[i]));
    }
    ASSERT_EQ(mistakes.size(), wrong);
    std::ranges::sort(gaps, std::ranges::greater{});
    for (std::size_t i = 0; i < wrong; ++i) {
      EXPECT_NEAR(mistakes[i].gap(), gaps[i], 1e-9);
      const auto sample = static_cast<std::size_t>(mistakes[i].sample);
      EXPECT_EQ(mistakes[i].label, predictions.labels[sample]);
      EXPECT_EQ(mistakes[i].predicted, predicted[sample]);
    }
    const auto few = worst_mistakes(predictions, 3);
    ASSERT_EQ(few.size(), std::min<std::size_t>(3, wrong));
    for (std::size_t i = 0; i < few.size(); ++i) EXPECT_EQ(few[i].sample, mistakes[i].sample);
  }
}

TEST(Confusion, TakesTheFirstOfEqualLogits) {
  const Predictions equal{
      .split = "test", .classes = 3, .logits = {1, 2, 2}, .labels = {2}, .samples = {0}};
  EXPECT_THAT(confusion_of(equal),
              ElementsAre(ElementsAre(0, 0, 0), ElementsAre(0, 0, 0), ElementsAre(0, 1, 0)));
}

}  // namespace
}  // namespace lockstep::report
