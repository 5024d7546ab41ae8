#include "lockstep/optim/clipping.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "lockstep/base/random.h"
#include "optim/host_engine.h"

namespace lockstep {
namespace {

/// Values of both signs whose size spans ten orders of magnitude.
std::vector<float> draw(std::size_t n, std::uint32_t stream) {
  std::vector<float> values(n);
  for (std::size_t i = 0; i < n; ++i) {
    const auto words = random_words({.seed = 11, .epoch = stream, .sample = i}, 0);
    const double size = std::pow(1e-10, uniform_float(words[0]));
    values[i] = static_cast<float>(words[1] % 2 == 0 ? size : -size);
  }
  return values;
}

std::vector<std::size_t> sizes() {
  std::vector<std::size_t> all{2047, 2048, 2049, 4096, 10'007, 300'000};
  for (std::size_t n = 0; n <= 130; ++n) all.push_back(n);
  return all;
}

long double reference_norm(const std::vector<float>& values) {
  long double sum = 0;
  for (const float value : values) sum += static_cast<long double>(value) * value;
  return std::sqrt(sum);
}

// As the header words it, one element after the other.
double sum_in_order(const std::vector<float>& values) {
  double sum = 0;
  for (std::size_t first = 0; first < values.size(); first += 2048) {
    std::array<double, 64> lanes{};
    for (std::size_t i = first; i < std::min(values.size(), first + 2048); ++i) {
      lanes[i % 64] += static_cast<double>(values[i]) * values[i];
    }
    for (std::size_t width = 32; width > 0; width /= 2) {
      for (std::size_t lane = 0; lane < width; ++lane) lanes[lane] += lanes[lane + width];
    }
    sum += lanes[0];
  }
  return sum;
}

TEST(Norm, IsThatOfHigherPrecision) {
  for (const std::size_t n : sizes()) {
    const auto values = draw(n, 1);
    const auto expected = static_cast<double>(reference_norm(values));
    EXPECT_NEAR(l2_norm(values.data(), n), expected, 1e-13 * expected) << n;
  }
}

TEST(Norm, HasOneOrderOnEveryInstructionSet) {
  bool order_matters = false;
  for (const std::size_t n : sizes()) {
    const auto values = draw(n, 2);
    const double expected = sum_in_order(values);
    for (const auto set : {InstructionSet::kNone, InstructionSet::kAvx2, InstructionSet::kAvx512}) {
      if (!is_usable(set)) continue;
      EXPECT_EQ(optim::square_sum_with(set, values.data(), n), expected) << n;
    }
    double one_by_one = 0;
    for (const float value : values) one_by_one += static_cast<double>(value) * value;
    order_matters = order_matters || one_by_one != expected;
  }
  EXPECT_TRUE(order_matters) << "these values prove nothing";
}

TEST(Norm, NeitherOverflowsNorVanishes) {
  constexpr float kMost = std::numeric_limits<float>::max();
  constexpr float kLeast = std::numeric_limits<float>::denorm_min();
  EXPECT_DOUBLE_EQ(l2_norm(std::vector<float>(100, kMost).data(), 100), 10.0 * kMost);
  EXPECT_DOUBLE_EQ(l2_norm(std::vector<float>(100, kLeast).data(), 100), 10.0 * kLeast);
  EXPECT_EQ(l2_norm(nullptr, 0), 0);
}

TEST(Clipping, BringsTheNormDownToTheLimitAndKeepsTheDirection) {
  for (const std::size_t n : sizes()) {
    if (n == 0) continue;
    const auto before = draw(n, 3);
    const auto norm = static_cast<double>(reference_norm(before));
    for (const double share : {1e-6, 0.3, 0.999}) {
      auto gradient = before;
      const double limit = share * norm;
      EXPECT_NEAR(clip_by_norm(gradient.data(), n, limit), norm, 1e-13 * norm);
      EXPECT_NEAR(static_cast<double>(reference_norm(gradient)), limit, 2e-7 * limit) << n;
      for (std::size_t i = 0; i < n; ++i) {
        const double expected = before[i] * (limit / norm);
        ASSERT_NEAR(gradient[i], expected, 2e-7 * std::abs(expected)) << n << " " << i;
      }
    }
  }
}

TEST(Clipping, LeavesASmallerGradientAlone) {
  for (const std::size_t n : sizes()) {
    const auto before = draw(n, 4);
    const double norm = l2_norm(before.data(), n);
    for (const double limit : {norm, norm * 1.5 + 1}) {
      if (limit == 0) continue;
      auto gradient = before;
      EXPECT_EQ(clip_by_norm(gradient.data(), n, limit), norm);
      EXPECT_EQ(gradient, before) << n;
    }
  }
}

TEST(Clipping, AKnownTriangle) {
  std::vector<float> gradient{3, 0, -4};
  EXPECT_EQ(clip_by_norm(gradient.data(), gradient.size(), 2.5), 5.0);
  EXPECT_EQ(gradient, (std::vector<float>{1.5, 0, -2}));
}

}  // namespace
}  // namespace lockstep
