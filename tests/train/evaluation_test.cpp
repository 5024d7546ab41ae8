#include "lockstep/train/objective.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "lockstep/base/error.h"

namespace lockstep {
namespace {

using ::testing::ElementsAre;

TEST(Summarise, CountsLossAndConfusion) {
  const std::vector<float> logits{2, 0, 0,  //
                                  0, 5, 5,  // a tie: the first one is the prediction
                                  0, 0, 1,  //
                                  3, 0, 0};
  const std::vector<std::uint8_t> labels{0, 2, 2, 2};
  const Evaluation result = summarise(logits, labels, 3);
  const double expected = (std::log(std::exp(2.0) + 2) - 2) +
                          (std::log(1 + 2 * std::exp(5.0)) - 5) +
                          (std::log(2 + std::exp(1.0)) - 1) + std::log(std::exp(3.0) + 2);
  EXPECT_EQ(result.samples, 4);
  EXPECT_NEAR(result.loss, expected / 4, 1e-12);
  EXPECT_EQ(result.metric, 0.5);
  EXPECT_THAT(result.class_samples, ElementsAre(1, 0, 3));
  EXPECT_THAT(result.class_accuracy, ElementsAre(1.0, 0.0, 1.0 / 3));
  EXPECT_THAT(result.confusion,
              ElementsAre(ElementsAre(1, 0, 0), ElementsAre(0, 0, 0), ElementsAre(1, 1, 1)));
}

TEST(Summarise, SurvivesHugeLogits) {
  const std::vector<float> logits{3e38f, -3e38f};
  const std::vector<std::uint8_t> labels{1};
  EXPECT_NEAR(summarise(logits, labels, 2).loss / 6e38, 1.0, 1e-6);
}

TEST(Summarise, OfNothing) {
  const Evaluation result = summarise({}, {}, 10);
  EXPECT_EQ(result.samples, 0);
  EXPECT_EQ(result.metric, 0.0);
}

TEST(Summarise, RefusesAnotherNumberOfLogits) {
  const std::vector<float> logits(7);
  const std::vector<std::uint8_t> labels(2);
  EXPECT_THROW(summarise(logits, labels, 3), Error);
}

}  // namespace
}  // namespace lockstep
