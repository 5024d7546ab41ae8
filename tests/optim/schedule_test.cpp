#include "lockstep/optim/schedule.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numbers>
#include <string>
#include <utility>
#include <vector>

#include "lockstep/base/error.h"
#include "lockstep/base/random.h"

namespace lockstep {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

/// Keras's ReduceLROnPlateau, in the words of its documentation and the shape of its on_epoch_end.
struct KerasPlateau {
  bool mode_max;
  double factor, min_lr, min_delta;
  int patience, cooldown;
  double lr;
  double best = mode_max ? -kInf : kInf;
  int cooldown_counter = 0;
  int wait = 0;

  bool in_cooldown() const { return cooldown_counter > 0; }
  bool monitor_op(double a, double b) const {
    return mode_max ? std::isgreater(a, b + min_delta) : std::isless(a, b - min_delta);
  }
  double on_epoch_end(double current) {
    if (in_cooldown()) {
      cooldown_counter -= 1;
      wait = 0;
    }
    if (monitor_op(current, best)) {
      best = current;
      wait = 0;
    } else if (!in_cooldown()) {
      wait += 1;
      if (wait >= patience) {
        const double old_lr = lr;
        if (old_lr > min_lr) {
          double new_lr = old_lr * factor;
          new_lr = std::max(new_lr, min_lr);
          lr = new_lr;
          cooldown_counter = cooldown;
          wait = 0;
        }
      }
    }
    return lr;
  }
};

std::vector<double> observe_all(Schedule& schedule, const std::vector<double>& metrics) {
  std::vector<double> rates;
  for (const double metric : metrics) {
    schedule.observe(metric);
    rates.push_back(schedule.base_rate());
  }
  return rates;
}

struct Recorded {
  std::string what;
  ScheduleOptions options;
  std::vector<double> metrics, rates;
};

TEST(PlateauTest, RecordedSequences) {
  // Rates derived by hand from the rules in schedule.h.
  const std::vector<Recorded> table{
      {"better every time: never reduced",
       {.learning_rate = 8, .patience = 1},
       {.1, .2, .3, .4},
       {8, 8, 8, 8}},
      {"the third validation without a better one reduces, and the count starts anew",
       {.learning_rate = 8},
       {.9, .9, .9, .9, .9, .9, .9, .9},
       {8, 8, 8, 4, 4, 4, 2, 2}},
      {"min_delta is exclusive: exactly best + delta is not better",
       {.learning_rate = 8, .patience = 2, .min_delta = .25},
       {.25, .5, .5, .75, .75, .75},
       {8, 8, 4, 4, 4, 2}},
      {"many small gains below min_delta add up, as the best stays",
       {.learning_rate = 8, .patience = 3, .min_delta = .25},
       {.25, .375, .5, .625, .75},
       {8, 8, 8, 8, 8}},
      {"loss: lower is better",
       {.learning_rate = 8, .monitor = "loss", .patience = 1, .min_delta = .25},
       {2, 1.75, 1.5, 1.5, 1},
       {8, 4, 4, 2, 2}},
      {"min_learning_rate is reached and kept",
       {.learning_rate = 8, .patience = 1, .factor = .25, .min_learning_rate = 1},
       {.5, .5, .5, .5, .5},
       {8, 2, 1, 1, 1}},
      {"cooldown 2: the observation that ends it counts already",
       {.learning_rate = 8, .patience = 1, .cooldown = 2},
       {.5, .5, .5, .5, .5, .5, .5},
       {8, 4, 4, 2, 2, 1, 1}},
      {"cooldown 1 with patience 1 changes nothing",
       {.learning_rate = 8, .patience = 1, .cooldown = 1},
       {.5, .5, .5, .5},
       {8, 4, 2, 1}},
      {"cooldown does not hide a better metric",
       {.learning_rate = 8, .patience = 2, .cooldown = 3},
       {.5, .5, .5, .6, .6, .6, .6},
       {8, 8, 4, 4, 4, 4, 2}},
      {"NaN is never better, at the start as later",
       {.learning_rate = 8, .patience = 2},
       {kNan, kNan, .5, kNan, kNan, .5},
       {8, 4, 4, 4, 2, 2}},
      {"patience 0 reduces at each validation that is not better",
       {.learning_rate = 8, .patience = 0},
       {.5, .5, .6, .6},
       {8, 4, 4, 2}},
      {"the wait goes on at the lowest rate, and a raised rate falls at once",
       {.learning_rate = 2, .patience = 2, .min_learning_rate = 2},
       {.5, .5, .5, .5},
       {2, 2, 2, 2}},
  };
  for (const auto& item : table) {
    const auto schedule = make_schedule(item.options, 0, 1);
    EXPECT_EQ(observe_all(*schedule, item.metrics), item.rates) << item.what;
  }
  const auto schedule =
      make_schedule({.learning_rate = 2, .patience = 2, .min_learning_rate = 2}, 0, 1);
  observe_all(*schedule, {.5, .5, .5});
  schedule->set_base_rate(16);
  EXPECT_THAT(observe_all(*schedule, {.5, .5}), ElementsAre(8, 8));
}

TEST(PlateauTest, AgreesWithKerasOnRandomSequences) {
  for (std::uint32_t run = 0; run < 2000; ++run) {
    const auto words = random_words({.seed = 3, .epoch = run}, 0);
    ScheduleOptions options{.learning_rate = 1,
                            .monitor = run % 2 == 0 ? "accuracy" : "loss",
                            .patience = static_cast<int>(words[0] % 4),
                            .factor = 0.3 + 0.1 * (words[1] % 6),
                            .min_learning_rate = words[2] % 2 == 0 ? 0.01 : 0.0,
                            .min_delta = 0.05 * (words[3] % 3),
                            .cooldown = static_cast<int>(words[0] / 4 % 4)};
    KerasPlateau keras{run % 2 == 0,         options.factor,   options.min_learning_rate,
                       options.min_delta,    options.patience, options.cooldown,
                       options.learning_rate};
    const auto schedule = make_schedule(options, 0, 1);
    for (std::uint32_t epoch = 0; epoch < 40; ++epoch) {
      const auto drawn = random_words({.seed = 4, .epoch = run, .sample = epoch}, 0);
      const double metric = drawn[1] % 20 == 0 ? kNan : uniform_float(drawn[0]);
      schedule->observe(metric);
      ASSERT_EQ(schedule->base_rate(), keras.on_epoch_end(metric))
          << "run " << run << " epoch " << epoch;
    }
  }
}

TEST(PlateauTest, StateRoundTripsAfterEveryObservation) {
  for (const std::string monitor : {"accuracy", "loss"}) {
    const ScheduleOptions options{
        .learning_rate = 0.1, .monitor = monitor, .patience = 2, .factor = 0.7, .cooldown = 2};
    const auto uninterrupted = make_schedule(options, 0, 1);
    auto resumed = make_schedule(options, 0, 1);
    for (std::uint32_t epoch = 0; epoch < 60; ++epoch) {
      const std::string saved = resumed->save();
      resumed = make_schedule(options, 0, 1);
      resumed->load(saved);
      ASSERT_EQ(resumed->save(), saved);
      const auto words = random_words({.seed = 5, .epoch = epoch}, 0);
      const double metric = epoch % 9 == 4 ? kNan : uniform_double(words[0], words[1]);
      uninterrupted->observe(metric);
      resumed->observe(metric);
      ASSERT_EQ(std::bit_cast<std::uint64_t>(resumed->base_rate()),
                std::bit_cast<std::uint64_t>(uninterrupted->base_rate()));
    }
    EXPECT_LT(uninterrupted->base_rate(), 0.1);
  }
}

TEST(ScheduleStateTest, EveryDoubleReadsBackToTheSameBits) {
  for (std::uint32_t i = 0; i < 2000; ++i) {
    const auto words = random_words({.seed = 6, .epoch = i}, 0);
    // Any finite positive double: the sign bit cleared, the exponent not all ones.
    const std::uint64_t bits = (std::uint64_t{words[0]} << 32 | words[1]) & 0x7fff'ffff'ffff'ffffU;
    const auto rate = std::bit_cast<double>(bits);
    if (!std::isfinite(rate)) continue;
    const auto first = make_schedule({.name = "constant"}, 0, 1);
    const auto second = make_schedule({.name = "constant"}, 0, 1);
    first->set_base_rate(rate);
    second->load(first->save());
    ASSERT_EQ(std::bit_cast<std::uint64_t>(second->base_rate()), bits);
  }
}

TEST(ScheduleStateTest, RefusesEverythingElseAndStaysUnchanged) {
  const std::string good =
      R"({"name":"plateau","base_rate":0.5,"best":0.25,"wait":1,"cooldown":0})";
  const auto replaced = [&good](const std::string& from, const std::string& to) {
    std::string text = good;
    return text.replace(text.find(from), from.size(), to);
  };
  const std::vector<std::pair<std::string, std::string>> corpus{
      {"", "object"},
      {"{", "object"},
      {"[]", "object"},
      {"null", "object"},
      {good + "x", "object"},
      {good.substr(0, good.size() - 1), "object"},
      {"{}", "name is missing"},
      {replaced("plateau", "constant"), "name is \"constant\", expected \"plateau\""},
      {replaced("\"plateau\"", "7"), "name is 7"},
      {replaced("\"base_rate\":0.5,", ""), "base_rate is missing"},
      {replaced(",\"cooldown\":0", ""), "cooldown is missing"},
      {replaced("0.5", "-0.5"), "base_rate is -0.5"},
      {replaced("0.5", "\"inf\""), "base_rate is inf"},
      {replaced("0.5", "\"0.5\""), "base_rate is \"0.5\""},
      {replaced("0.5", "null"), "base_rate is null"},
      {replaced("0.5", "1e999"), "object"},
      {replaced("0.25", "\"nan\""), "best is \"nan\""},
      {replaced("0.25", "true"), "best is true"},
      {replaced("\"wait\":1", "\"wait\":-1"), "wait is -1"},
      {replaced("\"wait\":1", "\"wait\":1.0"), "wait is 1.0"},
      {replaced("\"wait\":1", "\"wait\":2147483648"), "wait is 2147483648"},
      {replaced("\"wait\":1", "\"wait\":1,\"wait\":1"), "repeated"},
      {replaced("\"wait\":1", "\"wait\":1,\"weight\":1"), "unknown keys"},
  };
  const auto schedule = make_schedule({}, 0, 1);
  schedule->load(good);
  ASSERT_EQ(schedule->save(), good);
  for (const auto& [state, expected] : corpus) {
    try {
      schedule->load(state);
      ADD_FAILURE() << "accepted: " << state;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kBadData) << state;
      EXPECT_THAT(error.what(), HasSubstr(expected));
    }
    EXPECT_EQ(schedule->save(), good) << "changed by " << state;
  }
}

TEST(ConstantTest, IgnoresMetrics) {
  const auto schedule = make_schedule({.name = "constant", .learning_rate = 0.3}, 0, 1);
  observe_all(*schedule, {.5, .5, .5, .5, .5, kNan});
  EXPECT_EQ(schedule->rate(0), 0.3);
  EXPECT_EQ(schedule->rate(std::int64_t{1} << 60), 0.3);
}

TEST(WarmupTest, RisesLinearlyAndMultipliesEverySchedule) {
  for (const std::string name : {"constant", "plateau", "one-cycle"}) {
    const ScheduleOptions plain{.name = name, .learning_rate = 0.5};
    ScheduleOptions warm = plain;
    warm.warmup_steps = 4;
    const auto without = make_schedule(plain, 20, 1);
    const auto with = make_schedule(warm, 20, 1);
    const std::vector<double> share{0.25, 0.5, 0.75, 1, 1};
    for (std::size_t step = 0; step < share.size(); ++step) {
      const auto at = static_cast<std::int64_t>(step);
      EXPECT_EQ(with->rate(at), without->rate(at) * share[step]) << name << " " << step;
    }
  }
}

TEST(WarmupTest, FollowsAReducedRate) {
  const auto schedule = make_schedule({.learning_rate = 8, .patience = 1, .warmup_steps = 2}, 0, 1);
  observe_all(*schedule, {.5, .5});
  EXPECT_EQ(schedule->base_rate(), 4);
  EXPECT_EQ(schedule->rate(0), 2);
  EXPECT_EQ(schedule->rate(1), 4);
}

TEST(ScalingTest, MultipliesTheBaseRateByTheWorldSize) {
  for (const std::string name : {"constant", "plateau", "one-cycle"}) {
    ScheduleOptions options{.name = name, .learning_rate = 0.25};
    EXPECT_EQ(make_schedule(options, 10, 4)->base_rate(), 0.25);
    options.scale_with_world = true;
    EXPECT_EQ(make_schedule(options, 10, 1)->base_rate(), 0.25);
    EXPECT_EQ(make_schedule(options, 10, 4)->base_rate(), 1.0);
  }
}

/// PyTorch's OneCycleLR (two phases) by its documentation.
double one_cycle(const ScheduleOptions& options, std::int64_t total, std::int64_t step) {
  const double first = options.learning_rate / options.start_divisor;
  const double last = first / options.end_divisor;
  const double end1 = options.peak_fraction * static_cast<double>(total) - 1;
  const double end2 = static_cast<double>(total) - 1;
  const auto s = static_cast<double>(step);
  const bool rising = s <= end1;
  const double from = rising ? first : options.learning_rate;
  const double to = rising ? options.learning_rate : last;
  const double share = rising ? s / end1 : (s - end1) / (end2 - end1);
  if (options.shape == "linear") return from + share * (to - from);
  return to + (from - to) * 0.5 * (std::cos(std::numbers::pi * share) + 1);
}

TEST(OneCycleTest, KnownValues) {
  const ScheduleOptions options{.name = "one-cycle", .learning_rate = 1, .peak_fraction = 0.5};
  const auto cosine = make_schedule(options, 10, 1);
  EXPECT_NEAR(cosine->rate(0), 0.04, 1e-15);
  EXPECT_NEAR(cosine->rate(1), 0.04 + 0.96 * (1 - std::sqrt(0.5)) / 2, 1e-15);
  EXPECT_NEAR(cosine->rate(2), 0.52, 1e-15);
  EXPECT_NEAR(cosine->rate(4), 1, 1e-15);
  EXPECT_NEAR(cosine->rate(9), 4e-6, 1e-15);
  auto straight = options;
  straight.shape = "linear";
  const auto linear = make_schedule(straight, 10, 1);
  EXPECT_NEAR(linear->rate(1), 0.28, 1e-15);
  EXPECT_NEAR(linear->rate(4), 1, 1e-15);
  EXPECT_NEAR(linear->rate(5), 1 - 0.2 * (1 - 4e-6), 1e-15);
  EXPECT_NEAR(linear->rate(9), 4e-6, 1e-15);
}

TEST(OneCycleTest, AgreesWithPyTorchsFormulaAndStaysInRange) {
  for (const std::string shape : {"cosine", "linear"}) {
    for (const double peak : {0.05, 0.3, 0.7, 1.0}) {
      for (const std::int64_t total : {1, 2, 3, 4, 11, 100, 997}) {
        const double length = peak * static_cast<double>(total);
        if (length == 1) continue;  // PyTorch divides by zero; see the next test
        const ScheduleOptions options{
            .name = "one-cycle", .learning_rate = 0.4, .peak_fraction = peak, .shape = shape};
        const auto schedule = make_schedule(options, total, 1);
        for (std::int64_t step = 0; step < total; ++step) {
          const double rate = schedule->rate(step);
          ASSERT_NEAR(rate, one_cycle(options, total, step), 1e-15)
              << shape << " peak " << peak << " total " << total << " step " << step;
          ASSERT_TRUE(rate > 0 && rate <= 0.4);
        }
        EXPECT_EQ(schedule->rate(total + 5), schedule->rate(total - 1));
      }
    }
  }
}

TEST(OneCycleTest, ARiseOfNoLengthStartsAtTheTop) {
  const auto schedule =
      make_schedule({.name = "one-cycle", .learning_rate = 0.4, .peak_fraction = 0.1}, 10, 1);
  EXPECT_DOUBLE_EQ(schedule->rate(0), 0.4);
  EXPECT_LT(schedule->rate(1), 0.4);
  // One step in all: it is the peak of peak_fraction 1, and finite.
  const auto one =
      make_schedule({.name = "one-cycle", .learning_rate = 0.4, .peak_fraction = 1}, 1, 1);
  EXPECT_DOUBLE_EQ(one->rate(0), 0.4);
}

TEST(OneCycleTest, NeedsAKnownNumberOfSteps) {
  for (const std::int64_t total : {std::int64_t{0}, std::int64_t{-1}}) {
    try {
      make_schedule({.name = "one-cycle", .factor = 2}, total, 1);
      ADD_FAILURE() << "accepted " << total << " steps";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kUsage);
      EXPECT_THAT(error.what(), HasSubstr("at least one"));
      EXPECT_THAT(error.what(), HasSubstr("factor is 2"));
    }
  }
}

TEST(ScheduleOptionsTest, NamesWhatIsOutOfRange) {
  EXPECT_THAT(problems(ScheduleOptions{}), IsEmpty());
  const std::vector<std::pair<ScheduleOptions, std::string>> corpus{
      {{.name = "step"}, "schedule is 'step'"},
      {{.name = "constant", .learning_rate = 0}, "learning-rate is 0"},
      {{.name = "constant", .learning_rate = -1}, "learning-rate is -1"},
      {{.learning_rate = kNan}, "learning-rate is nan"},
      {{.learning_rate = kInf}, "learning-rate is inf"},
      {{.monitor = "acc"}, "monitor is 'acc'"},
      {{.patience = -1}, "patience is -1"},
      {{.factor = 1}, "factor is 1"},
      {{.factor = 0}, "factor is 0"},
      {{.factor = kNan}, "factor is nan"},
      {{.min_learning_rate = -1e-9}, "min-learning-rate is -1e-09"},
      {{.min_learning_rate = kNan}, "min-learning-rate is nan"},
      {{.learning_rate = 1e-6}, "above learning-rate"},
      {{.min_delta = -0.1}, "min-delta is -0.1"},
      {{.min_delta = kInf}, "min-delta is inf"},
      {{.cooldown = -2}, "cooldown is -2"},
      {{.warmup_steps = -3}, "warmup-steps is -3"},
      {{.peak_fraction = 1.5}, "peak-fraction is 1.5"},
      {{.peak_fraction = kNan}, "peak-fraction is nan"},
      {{.start_divisor = 0.5}, "start-divisor is 0.5"},
      {{.end_divisor = kInf}, "end-divisor is inf"},
      {{.shape = "square"}, "shape is 'square'"},
  };
  for (const auto& [options, expected] : corpus) {
    EXPECT_THAT(problems(options), ElementsAre(HasSubstr(expected)));
    EXPECT_THROW(make_schedule(options, 10, 1), Error) << expected;
  }
  EXPECT_THAT(problems(ScheduleOptions{.name = "constant", .learning_rate = 1e-6}), IsEmpty());
  EXPECT_THAT(problems(ScheduleOptions{.patience = -1, .factor = 3, .cooldown = -1}),
              ElementsAre(HasSubstr("patience"), HasSubstr("factor"), HasSubstr("cooldown")));
}

}  // namespace
}  // namespace lockstep
