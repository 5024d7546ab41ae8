#include "lockstep/data/augmentation.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>
#include <set>
#include <tuple>
#include <vector>

#include "lockstep/base/error.h"
#include "lockstep/base/random.h"

namespace lockstep {
namespace {

constexpr double kDegree = std::numbers::pi / 180.0;
const AugmentationOptions kOff{.rotation = 0, .zoom = 0, .shift_x = 0, .shift_y = 0};

// The draws behind a matrix R * (Z p + t), recovered from it; for square images.
struct Draws {
  double angle, zoom_x, zoom_y, shift_x, shift_y;
};
Draws recover(const Affine& m) {
  const double angle = std::atan2(m.c, m.a);
  return {.angle = angle / kDegree,
          .zoom_x = std::hypot(m.a, m.c),
          .zoom_y = std::hypot(m.b, m.d),
          .shift_x = (std::cos(angle) * m.tx + std::sin(angle) * m.ty) / 2,
          .shift_y = (-std::sin(angle) * m.tx + std::cos(angle) * m.ty) / 2};
}

// Every draw is uniform over its whole range: mean, variance and extremes of n draws.
void expect_uniform(const std::vector<double>& draws, double low, double high) {
  const auto n = static_cast<double>(draws.size());
  const double mean = std::accumulate(draws.begin(), draws.end(), 0.0) / n;
  double variance = 0;
  for (const double x : draws) variance += (x - mean) * (x - mean) / n;
  const double range = high - low;
  const auto [least, most] = std::minmax_element(draws.begin(), draws.end());
  EXPECT_NEAR(mean, (low + high) / 2, 5 * range / std::sqrt(12 * n));
  EXPECT_NEAR(variance / (range * range) * 12, 1.0, 0.05);
  EXPECT_GE(*least, low - 1e-9);
  EXPECT_LE(*most, high + 1e-9);
  EXPECT_LT(*least, low + range * 0.002);
  EXPECT_GT(*most, high - range * 0.002);
}

double correlation(const std::vector<double>& a, const std::vector<double>& b) {
  const auto n = static_cast<double>(a.size());
  double sum_a = 0, sum_b = 0, aa = 0, bb = 0, ab = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    sum_a += a[i], sum_b += b[i], aa += a[i] * a[i], bb += b[i] * b[i], ab += a[i] * b[i];
  }
  return (n * ab - sum_a * sum_b) / std::sqrt((n * aa - sum_a * sum_a) * (n * bb - sum_b * sum_b));
}

TEST(DrawAffine, DrawsAreUniformInTheirRangesAndIndependent) {
  const AugmentationOptions options{.rotation = 10, .zoom = 0.1, .shift_x = 0.2, .shift_y = 0.05};
  std::vector<std::vector<double>> draws(5);
  for (std::uint64_t sample = 0; sample < 10000; ++sample) {
    const Draws d =
        recover(draw_affine(options, 7, static_cast<std::uint32_t>(sample % 3), sample));
    draws[0].push_back(d.angle);
    draws[1].push_back(d.zoom_x);
    draws[2].push_back(d.zoom_y);
    draws[3].push_back(d.shift_x);
    draws[4].push_back(d.shift_y);
  }
  expect_uniform(draws[0], -10, 10);
  expect_uniform(draws[1], 0.9, 1.1);
  expect_uniform(draws[2], 0.9, 1.1);
  expect_uniform(draws[3], -0.2, 0.2);
  expect_uniform(draws[4], -0.05, 0.05);
  for (std::size_t i = 0; i < draws.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) EXPECT_LT(std::abs(correlation(draws[i], draws[j])), 0.05);
  }
}

TEST(DrawAffine, EachSettingAloneDoesOnlyItsOwn) {
  AugmentationOptions options = kOff;
  EXPECT_FALSE(options.enabled());
  const auto draw = [&] { return recover(draw_affine(options, 1, 2, 3)); };
  const auto is_off = [](const Draws& d, bool rotated, bool zoomed, bool x, bool y) {
    EXPECT_EQ(std::abs(d.angle) > 1e-9, rotated);
    EXPECT_EQ(std::abs(d.zoom_x - 1) > 1e-9, zoomed);
    EXPECT_EQ(std::abs(d.zoom_y - 1) > 1e-9, zoomed);
    EXPECT_EQ(std::abs(d.shift_x) > 1e-9, x);
    EXPECT_EQ(std::abs(d.shift_y) > 1e-9, y);
  };
  is_off(draw(), false, false, false, false);
  options = kOff, options.rotation = 10;
  is_off(draw(), true, false, false, false);
  EXPECT_TRUE(options.enabled());
  options = kOff, options.zoom = 0.1;
  is_off(draw(), false, true, false, false);
  EXPECT_TRUE(options.enabled());
  options = kOff, options.shift_x = 0.1;
  is_off(draw(), false, false, true, false);
  EXPECT_TRUE(options.enabled());
  options = kOff, options.shift_y = 0.1;
  is_off(draw(), false, false, false, true);
  EXPECT_TRUE(options.enabled());
}

TEST(DrawAffine, IsKeyedBySeedEpochAndSample) {
  std::set<std::tuple<double, double, double>> different;
  const AugmentationOptions options;
  for (const std::uint64_t seed : {1u, 2u}) {
    for (const std::uint32_t epoch : {0u, 1u, 70000u}) {
      for (std::uint64_t sample = 0; sample < 1000; ++sample) {
        const Affine m = draw_affine(options, seed, epoch, sample);
        const Affine again = draw_affine(options, seed, epoch, sample);
        EXPECT_EQ(std::tuple(m.a, m.b, m.tx), std::tuple(again.a, again.b, again.tx));
        different.emplace(m.a, m.b, m.tx);
      }
    }
  }
  EXPECT_EQ(different.size(), 6000u);
}

// In pixels a rotation keeps lengths and angles, also where an image is not square.
TEST(DrawAffine, RotatesPixelsOfImagesThatAreNotSquare) {
  AugmentationOptions options = kOff;
  options.rotation = 90;
  constexpr double kHeight = 20;
  constexpr double kWidth = 50;
  for (std::uint64_t sample = 0; sample < 100; ++sample) {
    const Affine m = draw_affine(options, 1, 0, sample, kHeight / kWidth);
    const double b = m.b * kWidth / kHeight;
    const double c = m.c * kHeight / kWidth;
    EXPECT_NEAR(m.a * m.a + c * c, 1.0, 1e-12);
    EXPECT_NEAR(b * b + m.d * m.d, 1.0, 1e-12);
    EXPECT_NEAR(m.a * b + c * m.d, 0.0, 1e-12);
    EXPECT_NEAR(m.a * m.d - b * c, 1.0, 1e-12);
  }
}

std::vector<float> noise(std::int64_t size) {
  std::vector<std::uint32_t> words(static_cast<std::size_t>(size));
  fill_random_words({.seed = 99}, words);
  std::vector<float> values;
  for (const std::uint32_t word : words) values.push_back(uniform_float(word));
  return values;
}

TEST(Warp, IdentityKeepsEveryBit) {
  for (const auto& [c, h, w] :
       {std::tuple{1, 28, 28}, {3, 5, 9}, {2, 1, 1}, {1, 1, 7}, {1, 7, 1}, {1, 200, 300}}) {
    const std::vector<float> in = noise(c * h * w);
    std::vector<float> out(in.size(), -1.0f);
    warp(in.data(), out.data(), c, h, w, {});
    EXPECT_EQ(out, in) << c << "x" << h << "x" << w;
  }
}

TEST(Warp, WholeTurnsAndShiftsMovePixelsExactly) {
  constexpr std::int64_t kHeight = 6;
  constexpr std::int64_t kWidth = 4;
  const std::vector<float> in = noise(kHeight * kWidth);
  std::vector<float> out(in.size());
  const auto at = [&](std::int64_t row, std::int64_t column) {
    const bool inside = row >= 0 && row < kHeight && column >= 0 && column < kWidth;
    return inside ? in[static_cast<std::size_t>(row * kWidth + column)] : 0.0f;
  };
  for (std::int64_t dy = -7; dy <= 7; ++dy) {
    for (std::int64_t dx = -5; dx <= 5; ++dx) {
      Affine m;
      m.tx = static_cast<double>(dx) * 2 / kWidth;
      m.ty = static_cast<double>(dy) * 2 / kHeight;
      warp(in.data(), out.data(), 1, kHeight, kWidth, m);
      for (std::int64_t r = 0; r < kHeight; ++r) {
        for (std::int64_t c = 0; c < kWidth; ++c) {
          EXPECT_NEAR(out[static_cast<std::size_t>(r * kWidth + c)], at(r + dy, c + dx), 1e-6);
        }
      }
    }
  }
  warp(in.data(), out.data(), 1, kHeight, kWidth, {.a = -1, .d = -1});
  for (std::size_t i = 0; i < in.size(); ++i) EXPECT_NEAR(out[i], in[in.size() - 1 - i], 1e-6);
}

// The definition, in double precision, without any of the short cuts.
std::vector<double> reference_warp(const std::vector<float>& in, std::int64_t channels,
                                   std::int64_t height, std::int64_t width, const Affine& m) {
  std::vector<double> out;
  const auto h = static_cast<double>(height);
  const auto w = static_cast<double>(width);
  for (std::int64_t channel = 0; channel < channels; ++channel) {
    for (std::int64_t row = 0; row < height; ++row) {
      for (std::int64_t column = 0; column < width; ++column) {
        const double x = (2.0 * static_cast<double>(column) + 1) / w - 1;
        const double y = (2.0 * static_cast<double>(row) + 1) / h - 1;
        const double px = ((m.a * x + m.b * y + m.tx + 1) * w - 1) / 2;
        const double py = ((m.c * x + m.d * y + m.ty + 1) * h - 1) / 2;
        double sum = 0;
        for (std::int64_t r = 0; r < height; ++r) {
          for (std::int64_t c = 0; c < width; ++c) {
            const double weight = std::max(0.0, 1 - std::abs(px - static_cast<double>(c))) *
                                  std::max(0.0, 1 - std::abs(py - static_cast<double>(r)));
            sum += weight * in[static_cast<std::size_t>((channel * height + r) * width + c)];
          }
        }
        out.push_back(sum);
      }
    }
  }
  return out;
}

TEST(Warp, EqualsTheDefinition) {
  const AugmentationOptions options{.rotation = 180, .zoom = 0.9, .shift_x = 1, .shift_y = 1};
  for (const auto& [c, h, w] :
       {std::tuple{1, 9, 9}, {3, 5, 8}, {1, 1, 1}, {1, 1, 6}, {1, 6, 1}, {2, 2, 2}, {1, 2, 12}}) {
    const std::vector<float> in = noise(c * h * w);
    std::vector<float> out(in.size());
    for (std::uint64_t sample = 0; sample < 200; ++sample) {
      const Affine m = draw_affine(options, 3, 0, sample, static_cast<double>(h) / w);
      warp(in.data(), out.data(), c, h, w, m);
      const std::vector<double> expected = reference_warp(in, c, h, w, m);
      for (std::size_t i = 0; i < out.size(); ++i) {
        ASSERT_NEAR(out[i], expected[i], 1e-6) << c << "x" << h << "x" << w << " pixel " << i;
      }
    }
  }
}

TEST(Warp, FarAwayIsZeroAndTooFarIsRefused) {
  const std::vector<float> in = noise(25);
  std::vector<float> out(25, 1.0f);
  warp(in.data(), out.data(), 1, 5, 5, {.tx = 1e6, .ty = -1e6});
  EXPECT_EQ(out, std::vector<float>(25));
  EXPECT_THROW(warp(in.data(), out.data(), 1, 5, 5, {.tx = 1e30}), Error);
  EXPECT_THROW(warp(in.data(), out.data(), 1, 5, 5, {.d = std::nan("")}), Error);
}

}  // namespace
}  // namespace lockstep
