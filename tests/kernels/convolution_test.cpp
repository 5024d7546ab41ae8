// Every pass against double precision, over random shapes.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "subjects.h"

namespace lockstep {
namespace {

class Convolution : public ::testing::TestWithParam<Subject> {};
INSTANTIATE_TEST_SUITE_P(Subjects, Convolution,
                         ::testing::Values(Subject::kAvx2, Subject::kAvx512, Subject::kWide),
                         ::testing::PrintToStringParamName());

// Root mean square of the difference, and its maximum, over the reference's root mean square.
struct Difference {
  double rms = 0, maximum = 0;
};

Difference difference(const std::vector<float>& computed, const std::vector<double>& reference) {
  EXPECT_EQ(computed.size(), reference.size());
  double squares = 0, errors = 0, greatest = 0;
  for (std::size_t i = 0; i < reference.size(); ++i) {
    const double error = std::abs(computed[i] - reference[i]);
    squares += reference[i] * reference[i];
    errors += error * error;
    if (!(error <= greatest)) greatest = error;  // NaN, too
  }
  const double size = std::sqrt(squares);
  const double floor = 1e-3 * std::sqrt(static_cast<double>(reference.size()));
  const double scale = std::max(size, floor);
  return {std::sqrt(errors) / scale,
          greatest / scale * std::sqrt(static_cast<double>(reference.size()))};
}

void expect_near(const char* what, const std::vector<float>& computed,
                 const std::vector<double>& reference, double bound, const Problem& problem) {
  const Difference found = difference(computed, reference);
  EXPECT_LT(found.rms, bound) << what << " of " << problem.text();
  EXPECT_LT(found.maximum, 15 * bound) << what << " of " << problem.text();
}

// What convolution.h promises; the direct kernels round like any sum.
struct Bounds {
  double output, input_gradient, weight_gradient;
};
Bounds bounds_of(const ConvolutionShape& shape) {
  if (shape.in_channels <= 4) return {1e-6, 1e-6, 5e-6};
  return shape.kernel == 5 ? Bounds{1e-5, 1e-5, 5e-5} : Bounds{5e-6, 5e-6, 2e-5};
}

// Of a layer without pooling: whether the gradient of output i goes back.
bool goes_back(const Computed& computed, std::size_t i) {
  return (computed.routes[i / 8] >> i % 8 & 1) != 0;
}

void expect_right(const Problem& problem, const Computed& computed) {
  const Bounds bounds = bounds_of(problem.shape);
  const std::vector<double> full = reference_full(problem);
  expect_near("output", computed.output, reference_output(problem, full), bounds.output, problem);
  const ReferenceGradient gradient = reference_gradient(problem, computed);
  if (!computed.input_gradient.empty()) {
    expect_near("input gradient", computed.input_gradient, gradient.input, bounds.input_gradient,
                problem);
  }
  expect_near("weight gradient", computed.weight_gradient, gradient.weight, bounds.weight_gradient,
              problem);
  expect_near("bias gradient", computed.bias_gradient, gradient.bias, 5e-6, problem);
  const auto& s = problem.shape;
  if (!s.pool) {
    for (std::size_t i = 0; i < computed.output.size(); ++i) {
      ASSERT_EQ(goes_back(computed, i), computed.output[i] > 0);
    }
    return;
  }
  // The winner's value is the maximum, but for rounding.
  for (std::size_t i = 0; i < computed.routes.size(); ++i) {
    const int winner = computed.routes[i];
    ASSERT_LE(winner, 4);
    EXPECT_EQ(winner == 4, computed.output[i] <= 0);
    if (winner == 4) continue;
    const auto channels = static_cast<std::size_t>(s.out_channels);
    const auto columns = static_cast<std::size_t>(s.width / 2);
    const auto rows = static_cast<std::size_t>(s.height / 2);
    const std::size_t x = i / channels % columns, y = i / channels / columns % rows;
    const std::size_t sample = i / channels / columns / rows;
    const auto height = static_cast<std::size_t>(s.height),
               width = static_cast<std::size_t>(s.width);
    const std::size_t pixel =
        (sample * height + 2 * y + static_cast<std::size_t>(winner / 2)) * width + 2 * x +
        static_cast<std::size_t>(winner % 2);
    EXPECT_NEAR(full[pixel * channels + i % channels] * problem.scale, computed.output[i], 1e-3);
  }
}

TEST_P(Convolution, IsThatOfDoublePrecision) {
  LOCKSTEP_SKIP_IF_MISSING(GetParam());
  std::mt19937_64 random(20);
  Workspace workspace;
  SerialExecutor executor;
  for (int i = 0; i < 40; ++i) {
    const Problem problem = random_problem(channel_step(GetParam()), random);
    const FusedConvolution layer = make_layer(GetParam(), problem.shape);
    expect_right(problem, compute(layer, problem, workspace, executor));
  }
}

TEST_P(Convolution, TakesTheNetworksLayers) {
  LOCKSTEP_SKIP_IF_MISSING(GetParam());
  std::mt19937_64 random(21);
  Workspace workspace;
  SerialExecutor executor;
  for (const ConvolutionShape& shape :
       {ConvolutionShape{1, 32, 5, 28, 28, false}, ConvolutionShape{32, 32, 5, 28, 28, true},
        ConvolutionShape{32, 64, 3, 14, 14, false}, ConvolutionShape{64, 64, 3, 14, 14, true},
        ConvolutionShape{64, 128, 3, 7, 7, false}, ConvolutionShape{128, 128, 3, 7, 7, true}}) {
    const Problem problem(shape, 3, random);
    expect_right(problem, compute(make_layer(GetParam(), shape), problem, workspace, executor));
  }
}

TEST_P(Convolution, EmptyBatchesHaveNoGradient) {
  LOCKSTEP_SKIP_IF_MISSING(GetParam());
  std::mt19937_64 random(22);
  Workspace workspace;
  SerialExecutor executor;
  for (const int in : {1, 32}) {
    const Problem problem({in, 16, 3, 5, 5, false}, 0, random);
    const FusedConvolution layer = make_layer(GetParam(), problem.shape);
    const Computed computed = compute(layer, problem, workspace, executor);
    EXPECT_EQ(std::ranges::count(computed.weight_gradient, 0.0f), std::ssize(problem.weight));
    EXPECT_EQ(std::ranges::count(computed.bias_gradient, 0.0f), std::ssize(problem.bias));
  }
}

// A NaN anywhere in a sample has to reach the loss, through ReLU and pooling, and so has a NaN in
// the gradient: training looks for them in the reduced gradient.
TEST_P(Convolution, NanIsNotLost) {
  LOCKSTEP_SKIP_IF_MISSING(GetParam());
  std::mt19937_64 random(23);
  Workspace workspace;
  SerialExecutor executor;
  const auto is_nan = [](float value) { return std::isnan(value); };
  for (const int in : {1, 16}) {
    for (const bool pool : {false, true}) {
      for (int pixel = 0; pixel < 36; ++pixel) {
        Problem problem({in, 16, 3, 6, 6, pool}, 1, random);
        const FusedConvolution layer = make_layer(GetParam(), problem.shape);
        problem.input[static_cast<std::size_t>(pixel * in)] =
            std::numeric_limits<float>::quiet_NaN();
        const Computed computed = compute(layer, problem, workspace, executor);
        EXPECT_TRUE(std::ranges::any_of(computed.output, is_nan)) << problem.text() << pixel;
        EXPECT_TRUE(std::ranges::any_of(computed.weight_gradient, is_nan)) << problem.text();
        for (std::size_t i = 0; !pool && i < computed.output.size(); ++i) {
          if (is_nan(computed.output[i])) {
            ASSERT_TRUE(goes_back(computed, i));
          }
        }
      }
    }
  }
}

// As where no gradient is wanted.
TEST_P(Convolution, RoutesAreLeftOutWithoutPooling) {
  LOCKSTEP_SKIP_IF_MISSING(GetParam());
  std::mt19937_64 random(26);
  Workspace workspace;
  SerialExecutor executor;
  for (const int in : {1, 16}) {
    const Problem problem({in, 16, 3, 6, 7, false}, 2, random);
    const FusedConvolution layer = make_layer(GetParam(), problem.shape);
    std::vector<float> output(problem.output_gradient.size());
    layer.forward(problem.batch, problem.input.data(), {problem.weight.data(), problem.bias.data()},
                  output.data(), nullptr, workspace, executor);
    EXPECT_EQ(output, compute(layer, problem, workspace, executor).output);
  }
}

// The first of equal pixels wins, as in LibTorch; where nothing is positive, none does.
TEST_P(Convolution, EqualPixelsHaveOneWinner) {
  LOCKSTEP_SKIP_IF_MISSING(GetParam());
  std::mt19937_64 random(24);
  Workspace workspace;
  SerialExecutor executor;
  Problem problem({1, 16, 3, 4, 4, true}, 1, random);
  std::ranges::fill(problem.input, 0.0f);
  problem.keep.clear();
  problem.scale = 1;
  for (std::size_t o = 0; o < 16; ++o) problem.bias[o] = o % 2 == 0 ? 1.0f : -1.0f;
  const FusedConvolution layer = make_layer(GetParam(), problem.shape);
  const Computed computed = compute(layer, problem, workspace, executor);
  for (std::size_t i = 0; i < computed.routes.size(); ++i) {
    EXPECT_EQ(computed.routes[i], i % 2 == 0 ? 0 : 4);
    EXPECT_EQ(computed.output[i], i % 2 == 0 ? 1 : 0);
  }
}

// The reference's own gradient, against central differences of its output. Each is exact while no
// pixel crosses zero and no window changes its winner, which a small step leaves true.
TEST(Reference, GradientIsTheSlope) {
  std::mt19937_64 random(25);
  for (const bool pool : {false, true}) {
    Problem problem({2, 8, 3, 5, 4, pool}, 2, random);
    const auto loss = [&] {
      const std::vector<double> output = reference_output(problem, reference_full(problem));
      double sum = 0;
      for (std::size_t i = 0; i < output.size(); ++i) sum += output[i] * problem.output_gradient[i];
      return sum;
    };
    const std::vector<double> full = reference_full(problem);
    Computed computed;
    for (const double value : reference_output(problem, full)) {
      computed.output.push_back(static_cast<float>(value));
    }
    if (pool) {
      for (std::size_t i = 0; i < computed.output.size(); ++i) {
        const std::size_t o = i % 8, x = i / 8 % 2, y = i / 16 % 2, b = i / 32;
        std::uint8_t winner = 4;
        for (std::uint8_t k = 0; k < 4 && computed.output[i] > 0; ++k) {
          const std::size_t pixel = (b * 5 + 2 * y + k / 2) * 4 + 2 * x + k % 2;
          if (static_cast<float>(full[pixel * 8 + o] * problem.scale) == computed.output[i]) {
            winner = k;
          }
        }
        computed.routes.push_back(winner);
      }
    }
    const ReferenceGradient gradient = reference_gradient(problem, computed);
    const auto slope = [&](float& value) {
      const float before = value, step = 0x1p-12f;
      value = before + step;
      const double high = value, above = loss();
      value = before - step;
      const double low = value, below = loss();
      value = before;
      return (above - below) / (high - low);
    };
    for (std::size_t i = 0; i < problem.input.size(); ++i) {
      EXPECT_NEAR(slope(problem.input[i]), gradient.input[i], 2e-3) << "input " << i;
    }
    for (std::size_t i = 0; i < problem.weight.size(); ++i) {
      EXPECT_NEAR(slope(problem.weight[i]), gradient.weight[i], 2e-3) << "weight " << i;
    }
    for (std::size_t i = 0; i < problem.bias.size(); ++i) {
      EXPECT_NEAR(slope(problem.bias[i]), gradient.bias[i], 2e-3) << "bias " << i;
    }
  }
}

}  // namespace
}  // namespace lockstep
