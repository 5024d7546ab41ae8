// What the root decides, and that every rank can follow.
#include "lockstep/train/decision.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

namespace lockstep {
namespace {

using ::testing::HasSubstr;

struct Course {
  TrainingState state;
  std::unique_ptr<Schedule> schedule = make_schedule({.patience = 2}, 100, 1);
  Decision observe(double metric, int early_stopping = 0, const std::string& monitor = "accuracy") {
    const Decision decision = decide(state, monitor, metric, early_stopping, *schedule);
    state.cursor.global_step += 10;
    apply(decision, state.cursor, state, *schedule);
    ++state.cursor.epoch;
    return decision;
  }
};

TEST(Decision, FirstMetricIsTheBest) {
  Course run;
  const Decision decision = run.observe(0.5);
  EXPECT_EQ(decision.best, 1);
  EXPECT_EQ(decision.epoch, 1);
  EXPECT_EQ(decision.has_best_before, 0);
  EXPECT_EQ(run.state.best, (Best{.metric = 0.5, .epoch = 1, .global_step = 10}));
}

TEST(Decision, AnEqualMetricIsNoGain) {
  Course run;
  run.observe(0.5);
  EXPECT_EQ(run.observe(0.5).best, 0);
  EXPECT_EQ(run.state.epochs_without_gain, 1);
  EXPECT_EQ(run.state.best->epoch, 1);
}

TEST(Decision, NotANumberIsNeverBest) {
  Course run;
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(run.observe(nan).best, 0);
  EXPECT_FALSE(run.state.best.has_value());
  EXPECT_EQ(run.observe(0.1).best, 1);
  EXPECT_EQ(run.observe(nan).best, 0);
}

TEST(Decision, LossIsBetterWhenLower) {
  Course run;
  run.observe(2.0, 0, "loss");
  EXPECT_EQ(run.observe(1.0, 0, "loss").best, 1);
  EXPECT_EQ(run.observe(1.5, 0, "loss").best, 0);
}

TEST(Decision, StopsEarlyAfterSoManyEpochsWithoutGain) {
  Course run;
  run.observe(0.9, 2);
  EXPECT_EQ(run.observe(0.8, 2).stop, 0);
  EXPECT_EQ(run.observe(0.95, 2).stop, 0);
  EXPECT_EQ(run.observe(0.9, 2).stop, 0);
  const Decision decision = run.observe(0.9, 2);
  EXPECT_EQ(decision.stop, 1);
  EXPECT_THAT(reason_text(decision, "accuracy"), HasSubstr("early stop"));
}

TEST(Decision, CarriesTheRateToARankThatObservesNothing) {
  Course root, other;
  for (int epoch = 0; epoch < 6; ++epoch) {
    const Decision decision = root.observe(0.5);
    apply(decision, root.state.cursor, other.state, *other.schedule);
    EXPECT_EQ(other.schedule->base_rate(), root.schedule->base_rate());
  }
  EXPECT_LT(root.schedule->base_rate(), 1e-3);
}

TEST(Decision, ExplainsItself) {
  Course run;
  run.observe(0.5);
  run.observe(0.5);
  const std::string text = reason_text(run.observe(0.5), "accuracy");
  EXPECT_EQ(text, "no gain for 2 epochs: learning rate 0.001 -> 0.0005");
  EXPECT_EQ(reason_text(run.observe(0.6), judged_metric(true, "accuracy")),
            "best validation accuracy so far");
  EXPECT_EQ(reason_text(run.observe(0.7), judged_metric(false, "accuracy")),
            "best training accuracy so far");
}

}  // namespace
}  // namespace lockstep
