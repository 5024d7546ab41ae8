#include "lockstep/optim/optimizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "lockstep/base/error.h"
#include "lockstep/base/random.h"
#include "optim/host_engine.h"

namespace lockstep {
/// How often this program has called operator new (allocation_counter.cpp).
long allocation_count();
}  // namespace lockstep

namespace lockstep {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

struct Case {
  std::string label;
  OptimizerOptions options;
  double learning_rate;
};

void PrintTo(const Case& item, std::ostream* out) { *out << item.label; }

std::vector<Case> cases() {
  return {
      {"rmsprop", {}, 1e-3},
      {"rmsprop_eps", {.rho = 0.99, .epsilon = 0.1}, 0.01},
      {"rmsprop_rho_0", {.rho = 0.0}, 1e-3},
      {"rmsprop_momentum", {.rho = 0.95, .momentum = 0.9, .weight_decay = 0.01}, 1e-3},
      {"sgd", {.name = "sgd"}, 0.05},
      {"sgd_decay", {.name = "sgd", .weight_decay = 0.1}, 0.05},
      {"sgd_momentum", {.name = "sgd", .momentum = 0.9, .weight_decay = 1e-4}, 0.02},
      {"sgd_nesterov",
       {.name = "sgd", .momentum = 0.8, .nesterov = true, .weight_decay = 0.01},
       0.02},
      {"adamw", {.name = "adamw"}, 1e-3},
      {"adamw_decay",
       {.name = "adamw", .epsilon = 1e-6, .weight_decay = 0.1, .beta1 = 0.8, .beta2 = 0.99},
       0.01},
  };
}

class OptimizerTest : public testing::TestWithParam<Case> {
 protected:
  const OptimizerOptions& options() const { return GetParam().options; }
  double learning_rate() const { return GetParam().learning_rate; }
};
INSTANTIATE_TEST_SUITE_P(All, OptimizerTest, testing::ValuesIn(cases()),
                         [](const auto& info) { return info.param.label; });

/// Values whose size spans ten orders of magnitude, of both signs, with some zeros.
std::vector<float> draw(std::size_t n, std::uint32_t stream, double smallest = 1e-8) {
  std::vector<float> values(n);
  for (std::size_t i = 0; i < n; ++i) {
    const auto words = random_words({.seed = 7, .epoch = stream, .sample = i}, 0);
    const double size = std::pow(smallest, uniform_float(words[0]));
    if (words[2] % 16 != 0) values[i] = static_cast<float>(words[1] % 2 == 0 ? size : -size);
  }
  return values;
}

/// The formulas of optimizer.h in double precision.
class Reference {
 public:
  Reference(const OptimizerOptions& options, const std::vector<float>& weights)
      : weights(weights.begin(), weights.end()),
        options_(options),
        a_(weights.size()),
        b_(weights.size()) {}

  void step(const std::vector<float>& gradients, double rate) {
    ++t_;
    for (std::size_t i = 0; i < weights.size(); ++i) {
      double& w = weights[i];
      double g = gradients[i];
      if (options_.name == "adamw") {
        w -= rate * options_.weight_decay * w;
        a_[i] = options_.beta1 * a_[i] + (1 - options_.beta1) * g;
        b_[i] = options_.beta2 * b_[i] + (1 - options_.beta2) * g * g;
        const double m = a_[i] / (1 - std::pow(options_.beta1, t_));
        const double v = b_[i] / (1 - std::pow(options_.beta2, t_));
        w -= rate * m / (std::sqrt(v) + options_.epsilon);
        continue;
      }
      g += options_.weight_decay * w;
      if (options_.name == "rmsprop") {
        a_[i] = options_.rho * a_[i] + (1 - options_.rho) * g * g;
        g /= std::sqrt(a_[i]) + options_.epsilon;
      }
      b_[i] = options_.momentum * b_[i] + g;
      w -= rate * (options_.nesterov ? g + options_.momentum * b_[i] : b_[i]);
    }
  }

  std::vector<double> weights;

 private:
  OptimizerOptions options_;
  std::vector<double> a_, b_;
  int t_ = 0;
};

TEST_P(OptimizerTest, AgreesWithDoublePrecisionOver100Steps) {
  constexpr std::size_t kElements = 500;
  auto weights = draw(kElements, 0, 1e-3);
  Reference reference(options(), weights);
  const auto optimizer = make_optimizer(options(), kElements);
  for (std::uint32_t t = 1; t <= 100; ++t) {
    const auto gradients = draw(kElements, t, 1e-4);
    // The rate changes, as a schedule's does.
    const double rate = learning_rate() * (t <= 50 ? 1.0 : 0.3);
    optimizer->step(weights.data(), gradients.data(), rate);
    reference.step(gradients, rate);
    ASSERT_EQ(optimizer->step_count(), t);
  }
  for (std::size_t i = 0; i < kElements; ++i) {
    ASSERT_NEAR(weights[i], reference.weights[i], 3e-6 * (1 + std::abs(reference.weights[i]))) << i;
  }
}

/// Weights and all state after `steps`, on buffers that start `offset` floats into an allocation.
std::vector<std::vector<float>> trajectory(Optimizer& optimizer, std::size_t n, std::size_t begin,
                                           std::size_t offset, double rate, std::uint32_t steps) {
  const auto all = draw(begin + n, 0);
  std::vector<float> weights(n + offset);
  std::vector<float> gradients(n + offset);
  std::copy_n(all.data() + begin, n, weights.data() + offset);
  for (std::uint32_t t = 1; t <= steps; ++t) {
    const auto drawn = draw(begin + n, t);
    std::copy_n(drawn.data() + begin, n, gradients.data() + offset);
    optimizer.step(weights.data() + offset, gradients.data() + offset, rate);
  }
  std::vector<std::vector<float>> result;
  result.emplace_back(weights.begin() + static_cast<std::ptrdiff_t>(offset), weights.end());
  for (const auto& state : optimizer.state()) result.emplace_back(state.values, state.values + n);
  return result;
}

TEST_P(OptimizerTest, EveryInstructionSetGivesTheBitsOfOneElementAlone) {
  // The long ones reach the part that asks for memory ahead: from 1,088 on, 64 elements at a time.
  std::vector<std::size_t> sizes;
  for (std::size_t n = 0; n <= 70; n += n < 35 ? 1 : 7) sizes.push_back(n);
  sizes.insert(sizes.end(), {1087, 1088, 1151, 1153});
  const std::size_t largest = sizes.back();
  constexpr std::uint32_t kSteps = 4;
  // A loop over one element has no vector part: this is plain scalar code.
  std::vector<std::vector<std::vector<float>>> alone;
  for (std::size_t i = 0; i < largest; ++i) {
    const auto optimizer = optim::make_host_optimizer(options(), 1, InstructionSet::kNone);
    alone.push_back(trajectory(*optimizer, 1, i, 0, learning_rate(), kSteps));
  }
  for (const auto set : {InstructionSet::kNone, InstructionSet::kAvx2, InstructionSet::kAvx512}) {
    if (!is_usable(set)) continue;
    for (const std::size_t n : sizes) {
      const auto optimizer = optim::make_host_optimizer(options(), n, set);
      const auto together = trajectory(*optimizer, n, 0, n % 5, learning_rate(), kSteps);
      for (std::size_t buffer = 0; buffer < together.size(); ++buffer) {
        for (std::size_t i = 0; i < n; ++i) {
          ASSERT_EQ(std::bit_cast<std::uint32_t>(together[buffer][i]),
                    std::bit_cast<std::uint32_t>(alone[i][buffer][0]))
              << "set " << static_cast<int>(set) << ", n " << n << ", buffer " << buffer
              << ", element " << i;
        }
      }
    }
  }
}

TEST_P(OptimizerTest, ContinuesFromSavedStateWithTheSameBits) {
  constexpr std::size_t kElements = 64;
  auto weights = draw(kElements, 0);
  const auto first = make_optimizer(options(), kElements);
  const auto second = make_optimizer(options(), kElements);
  for (std::uint32_t t = 1; t <= 5; ++t) {
    first->step(weights.data(), draw(kElements, t).data(), learning_rate());
  }
  auto copy = weights;
  const auto from = first->state();
  const auto to = second->state();
  ASSERT_EQ(from.size(), to.size());
  for (std::size_t i = 0; i < from.size(); ++i) {
    EXPECT_EQ(from[i].prefix, to[i].prefix);
    std::copy_n(from[i].values, kElements, to[i].values);
  }
  second->set_step_count(first->step_count());
  for (std::uint32_t t = 6; t <= 10; ++t) {
    first->step(weights.data(), draw(kElements, t).data(), learning_rate());
    second->step(copy.data(), draw(kElements, t).data(), learning_rate());
  }
  EXPECT_EQ(weights, copy);
}

TEST_P(OptimizerTest, StepAllocatesNothing) {
  std::vector<float> weights(1000, 0.5f);
  const std::vector<float> gradients(1000, 0.25f);
  const auto optimizer = make_optimizer(options(), weights.size());
  const long before = allocation_count();
  optimizer->step(weights.data(), gradients.data(), learning_rate());
  optimizer->step(weights.data(), gradients.data(), learning_rate());
  EXPECT_EQ(allocation_count(), before);
}

TEST_P(OptimizerTest, PaddingStaysZero) {
  std::vector<float> weights(33, 0.0f);
  const std::vector<float> gradients(33, 0.0f);
  const auto optimizer = make_optimizer(options(), weights.size());
  for (int t = 0; t < 3; ++t) optimizer->step(weights.data(), gradients.data(), learning_rate());
  EXPECT_THAT(weights, testing::Each(0.0f));
  for (const auto& state : optimizer->state()) {
    EXPECT_TRUE(std::all_of(state.values, state.values + 33, [](float v) { return v == 0; }))
        << state.prefix;
  }
}

TEST(OptimizerStateTest, NamesTheBuffersInUse) {
  const auto prefixes = [](const OptimizerOptions& options) {
    std::vector<std::string> names;
    for (const auto& state : make_optimizer(options, 1)->state()) names.push_back(state.prefix);
    return names;
  };
  EXPECT_THAT(prefixes({}), ElementsAre("square_average"));
  EXPECT_THAT(prefixes({.momentum = 0.5}), ElementsAre("square_average", "momentum"));
  EXPECT_THAT(prefixes({.name = "sgd"}), IsEmpty());
  EXPECT_THAT(prefixes({.name = "sgd", .momentum = 0.5}), ElementsAre("momentum"));
  EXPECT_THAT(prefixes({.name = "adamw"}), ElementsAre("first_moment", "second_moment"));
}

TEST(RmspropTest, FirstUpdateIsTheRecipes) {
  // v = 0.1 g^2, so that the first step is lr / sqrt(0.1) whatever the gradient's size.
  std::vector<float> weights{1.0f, 1.0f};
  const std::vector<float> gradients{1e-3f, -50.0f};
  make_optimizer({}, 2)->step(weights.data(), gradients.data(), 1e-3);
  EXPECT_NEAR(weights[0], 1.0 - 1e-3 / std::sqrt(0.1), 2e-7);
  EXPECT_NEAR(weights[1], 1.0 + 1e-3 / std::sqrt(0.1), 2e-7);
}

TEST(OptimizerOptionsTest, DefaultsAndEveryCaseAreValid) {
  EXPECT_THAT(problems(OptimizerOptions{}), IsEmpty());
  for (const auto& item : cases()) EXPECT_THAT(problems(item.options), IsEmpty()) << item.label;
}

TEST(OptimizerOptionsTest, NamesWhatIsOutOfRange) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const double inf = std::numeric_limits<double>::infinity();
  const std::vector<std::pair<OptimizerOptions, std::string>> corpus{
      {{.name = "adam"}, "optimizer is 'adam'"},
      {{.name = ""}, "optimizer is ''"},
      {{.rho = 1.0}, "rho is 1"},
      {{.rho = -0.1}, "rho is -0.1"},
      {{.rho = nan}, "rho is nan"},
      {{.epsilon = 0.0}, "epsilon is 0"},
      {{.epsilon = 1e-46}, "epsilon is 1e-46"},  // would be 0 as a float
      {{.epsilon = nan}, "epsilon is nan"},
      {{.epsilon = 2.0}, "epsilon is 2"},
      {{.momentum = 1.0}, "momentum is 1"},
      {{.momentum = nan}, "momentum is nan"},
      {{.name = "adamw", .momentum = 0.9}, "momentum is 0.9"},
      {{.nesterov = true}, "nesterov"},
      {{.name = "sgd", .nesterov = true}, "nesterov"},
      {{.weight_decay = -1e-9}, "weight-decay is -1e-09"},
      {{.weight_decay = inf}, "weight-decay is inf"},
      {{.name = "adamw", .beta1 = 1.0}, "beta1 is 1"},
      {{.name = "adamw", .beta2 = -inf}, "beta2 is -inf"},
  };
  for (const auto& [options, expected] : corpus) {
    EXPECT_THAT(problems(options), ElementsAre(HasSubstr(expected)));
    try {
      make_optimizer(options, 1);
      ADD_FAILURE() << expected << " was accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kUsage);
      EXPECT_THAT(error.what(), HasSubstr(expected));
    }
  }
}

TEST(OptimizerOptionsTest, ListsEveryProblemAtOnce) {
  EXPECT_THAT(problems({.name = "x", .rho = 2, .epsilon = -1, .momentum = 3, .beta1 = 4}),
              ElementsAre(HasSubstr("optimizer"), HasSubstr("rho"), HasSubstr("epsilon"),
                          HasSubstr("momentum"), HasSubstr("beta1")));
}

TEST(AllFiniteTest, FindsOneBadValueAnywhere) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(all_finite(nullptr, 0));
  for (const auto set : {InstructionSet::kNone, InstructionSet::kAvx2, InstructionSet::kAvx512}) {
    if (!is_usable(set)) continue;
    for (std::size_t n = 1; n <= 70; ++n) {
      std::vector<float> values(n, std::numeric_limits<float>::max());
      values[n / 2] = -std::numeric_limits<float>::denorm_min();
      ASSERT_TRUE(optim::all_finite_with(set, values.data(), n)) << n;
      for (std::size_t i = 0; i < n; ++i) {
        for (const float bad : {kInf, -kInf, nan, -nan}) {
          const float good = std::exchange(values[i], bad);
          ASSERT_FALSE(optim::all_finite_with(set, values.data(), n)) << n << " " << i;
          values[i] = good;
        }
      }
    }
  }
}

TEST(UpdateAverageTest, FollowsTheFormulaOnEveryInstructionSet) {
  for (const auto set : {InstructionSet::kNone, InstructionSet::kAvx2, InstructionSet::kAvx512}) {
    if (!is_usable(set)) continue;
    for (std::size_t i = 0; i < 55; ++i) {
      const std::size_t n = i < 50 ? i : 1036 + i;  // around where memory is asked for ahead
      const auto weights = draw(n, 1);
      const auto before = draw(n, 2);
      auto average = before;
      optim::update_average_with(set, average.data(), weights.data(), n, 0.99);
      for (std::size_t i = 0; i < n; ++i) {
        ASSERT_NEAR(average[i], 0.99 * before[i] + 0.01 * weights[i], 1e-7);
        auto one = before[i];
        optim::update_average_with(InstructionSet::kNone, &one, &weights[i], 1, 0.99);
        ASSERT_EQ(std::bit_cast<std::uint32_t>(one), std::bit_cast<std::uint32_t>(average[i]));
      }
    }
  }
}

TEST(UpdateAverageTest, EqualWeightsAreAFixedPoint) {
  const auto weights = draw(100, 1);
  auto average = weights;
  for (int i = 0; i < 100; ++i) {
    update_average(average.data(), weights.data(), weights.size(), 0.999);
  }
  EXPECT_EQ(average, weights);
}

}  // namespace
}  // namespace lockstep
