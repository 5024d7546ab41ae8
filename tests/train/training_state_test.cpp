#include "lockstep/train/training_state.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <random>

#include "lockstep/base/error.h"

namespace lockstep {
namespace {

using ::testing::HasSubstr;

TrainingState sample_state() {
  TrainingState state;
  state.cursor = {.epoch = 3, .step_in_epoch = 17, .global_step = 1901};
  state.epoch_sums = {.loss = 0.1 + 0.2, .correct = 1400, .samples = 1462};
  state.window_sums = {.loss = 1e-310, .correct = 7, .samples = 86};
  state.best = Best{.metric = 0.98316666666666663, .epoch = 2, .global_step = 1256};
  state.epochs_without_gain = 1;
  state.stop_reason = StopReason::kPreempted;
  state.optimizer_steps = 1901;
  state.schedule = R"({"name":"plateau","base_rate":0.0005})";
  state.seed = ~std::uint64_t{0};
  state.global_batch = 86;
  state.training_samples = 54'000;
  state.data_sha256 = "abc";
  state.numerics = "cpu AVX2 threads=1 torch=2.11.0";
  state.settings = {{"seed", "18446744073709551615"}, {"model", "mlp"}};
  return state;
}

TEST(TrainingState, ReadsBackToTheSameBits) {
  EXPECT_EQ(decode_state(encode_state(sample_state()), "x"), sample_state());
  TrainingState state = sample_state();
  state.best.reset();
  EXPECT_EQ(decode_state(encode_state(state), "x"), state);
  std::mt19937_64 random(1);
  state.skipped_steps = 3;
  state.image_shape = {3, 28, 20};
  state.split_sha256 = std::string(64, 'a');
  EXPECT_EQ(decode_state(encode_state(state), "x"), state);
  for (int i = 0; i < 1000; ++i) {
    state.epoch_sums.loss = std::uniform_real_distribution<double>(0, 1e6)(random);
    EXPECT_EQ(decode_state(encode_state(state), "x").epoch_sums.loss, state.epoch_sums.loss);
  }
}

TEST(TrainingState, RefusesWhatItDidNotWrite) {
  const auto good = nlohmann::json::parse(encode_state(sample_state()));
  std::vector<std::string> bad{"", "{", "[]", "null", "{}", encode_state(sample_state()) + "x"};
  for (const auto& [key, value] : good.items()) {
    auto missing = good;
    missing.erase(key);
    bad.push_back(missing.dump());
    auto wrong = good;
    wrong[key] = nlohmann::json::array({1});
    bad.push_back(wrong.dump());
  }
  auto changed = good;
  changed["schema"] = 2;
  bad.push_back(changed.dump());
  changed = good;
  changed["stop_reason"] = "bored";
  bad.push_back(changed.dump());
  changed = good;
  changed["cursor"]["epoch"] = -1;
  bad.push_back(changed.dump());
  changed = good;
  changed["surprise"] = 1;
  bad.push_back(changed.dump());
  for (const int never_written : {0, -1}) {
    changed = good;
    changed["skipped_steps"] = never_written;
    bad.push_back(changed.dump());
  }
  for (const char* shape : {"[]", "[28,28]", "[1,28,0]", "[1,28.5,28]", "[1e9,1,1]",
                            "[268435456,268435456,268435456]", "{\"a\":1,\"b\":1,\"c\":1}"}) {
    changed = good;
    changed["image_shape"] = nlohmann::json::parse(shape);
    bad.push_back(changed.dump());
  }
  changed = good;
  changed["cursor"]["epoch"] = 1.5;
  bad.push_back(changed.dump());
  for (const std::string& text : bad) {
    try {
      decode_state(text, "somewhere/state.json");
      ADD_FAILURE() << "accepted: " << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kBadData) << text;
      EXPECT_THAT(error.what(), HasSubstr("somewhere/state.json"));
    }
  }
}

std::string refusal(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kBadData);
    return error.what();
  }
  return "";
}

TEST(TrainingState, NamesItsOriginOnce) {
  EXPECT_EQ(refusal([] { decode_state("{", "X"); }), "X: is not valid JSON at byte 2 of 1");
  EXPECT_EQ(refusal([] { decode_state("{\"schema\":true}", "X"); }),
            "X: true is not a whole number in range");
}

TEST(TrainingState, AnotherSchemaIsSaidToBeOne) {
  auto other = nlohmann::json::parse(encode_state(sample_state()));
  other["schema"] = TrainingState::kSchema + 1;
  EXPECT_THAT(refusal([&] { decode_state(other.dump(), "X"); }),
              testing::AllOf(HasSubstr("X: written by another version of lockstep (schema 2, this "
                                       "is 1)"),
                             HasSubstr("--resume DIR with an older checkpoint")));
}

TEST(TrainingState, ItsPositionMustBePossible) {
  constexpr std::int64_t kSteps = 628;  // an epoch: 1901 = 3 * 628 + 17
  const auto refused = [](const TrainingState& state, std::int64_t step, std::int64_t steps) {
    return refusal([&] { require_position(state, step, steps, "X"); });
  };
  EXPECT_EQ(refused(sample_state(), 1901, kSteps), "");
  TrainingState end = sample_state();
  end.cursor = {.epoch = 3, .step_in_epoch = 0, .global_step = 3 * kSteps};
  EXPECT_EQ(refused(end, 3 * kSteps, kSteps), "");
  EXPECT_EQ(refused(TrainingState{}, 0, 1), "");

  EXPECT_THAT(refused(sample_state(), 1902, kSteps), HasSubstr("is of step 1902"));
  EXPECT_THAT(refused(sample_state(), 1901, kSteps + 1), HasSubstr("629 steps an epoch"));
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  const std::function<void(TrainingState&)> wrong[] = {
      [](TrainingState& state) { state.cursor.epoch = 2; },
      [](TrainingState& state) { state.cursor.epoch = kMost; },
      [](TrainingState& state) { state.cursor.step_in_epoch = 18; },
      [](TrainingState& state) {
        state.cursor = {3 - 1, 17 + kSteps, 1901};
      },
      [](TrainingState& state) { state.best->global_step = 1902; },
      [](TrainingState& state) { state.best->global_step = -1; },
      [](TrainingState& state) { state.epoch_sums.samples = -1; },
      [](TrainingState& state) { state.window_sums.correct = -1; },
      [](TrainingState& state) { state.window_sums.correct = 87; },
  };
  for (const auto& change : wrong) {
    TrainingState state = sample_state();
    change(state);
    EXPECT_THAT(refused(state, state.cursor.global_step, kSteps), testing::StartsWith("X: "));
  }
}

}  // namespace
}  // namespace lockstep
