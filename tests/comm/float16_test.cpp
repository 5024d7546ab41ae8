// Every number of 16 bits, and what lies between two of them.
#include "comm/float16.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

namespace lockstep {
namespace {

struct Type {
  const char* name;
  int exponent_bits;
  int fraction_bits;
  float (*widen)(std::uint16_t);
  std::uint16_t (*round)(float);
  void (*add)(const std::uint16_t*, std::uint16_t*, std::size_t);

  // The value by the definition of IEEE 754.
  double value(std::uint32_t bits) const {
    const int bias = (1 << (exponent_bits - 1)) - 1;
    const auto fraction = static_cast<int>(bits & ((1u << fraction_bits) - 1));
    const auto exponent = static_cast<int>((bits & 0x7fffu) >> fraction_bits);
    double magnitude = 0;
    if (exponent == (1 << exponent_bits) - 1) {
      magnitude = fraction == 0 ? std::numeric_limits<double>::infinity()
                                : std::numeric_limits<double>::quiet_NaN();
    } else if (exponent == 0) {
      magnitude = std::ldexp(fraction, 1 - bias - fraction_bits);
    } else {
      magnitude = std::ldexp(fraction + (1 << fraction_bits), exponent - bias - fraction_bits);
    }
    return (bits & 0x8000u) != 0 ? -magnitude : magnitude;
  }
  std::uint32_t infinity() const { return ((1u << exponent_bits) - 1) << fraction_bits; }
};

const Type kTypes[] = {
    {"float16", 5, 10, widen_float16, round_to_float16, add_float16},
    {"bfloat16", 8, 7, widen_bfloat16, round_to_bfloat16, add_bfloat16},
};

class Float16 : public ::testing::TestWithParam<Type> {};
INSTANTIATE_TEST_SUITE_P(Types, Float16, ::testing::ValuesIn(kTypes),
                         [](const auto& info) { return info.param.name; });

TEST_P(Float16, EveryNumberSurvivesTheWayThere) {
  const Type& type = GetParam();
  for (std::uint32_t bits = 0; bits <= 0xffff; ++bits) {
    const auto narrow = static_cast<std::uint16_t>(bits);
    const double value = type.value(bits);
    if (std::isnan(value)) {
      ASSERT_TRUE(std::isnan(type.widen(narrow))) << bits;
      ASSERT_TRUE(std::isnan(type.widen(type.round(type.widen(narrow))))) << bits;
      continue;
    }
    ASSERT_EQ(type.widen(narrow), value) << bits;
    ASSERT_EQ(type.round(type.widen(narrow)), narrow) << bits;
  }
}

// Between every number and the next: up to the middle down, from there on up, the middle to even.
TEST_P(Float16, RoundsToNearestAndTiesToEven) {
  const Type& type = GetParam();
  for (std::uint32_t bits = 0; bits < type.infinity(); ++bits) {
    const double below = type.value(bits);
    // As if the exponent went on: where the numbers end, this is infinity.
    const double step =
        bits + 1 == type.infinity() ? below - type.value(bits - 1) : type.value(bits + 1) - below;
    const auto middle = static_cast<float>(below + step / 2);
    ASSERT_EQ(middle, below + step / 2);
    for (const std::uint32_t sign : {0u, 0x8000u}) {
      const float direction = sign == 0 ? 1.0f : -1.0f;
      ASSERT_EQ(type.round(direction * middle), (bits + (bits & 1u)) | sign) << bits;
      ASSERT_EQ(type.round(direction * std::nextafterf(middle, 0.0f)), bits | sign) << bits;
      if (std::isinf(std::nextafterf(middle, std::numeric_limits<float>::infinity()))) continue;
      ASSERT_EQ(
          type.round(direction * std::nextafterf(middle, std::numeric_limits<float>::infinity())),
          (bits + 1) | sign)
          << bits;
    }
  }
  EXPECT_EQ(type.round(std::numeric_limits<float>::max()), type.infinity());
  EXPECT_TRUE(std::isnan(type.widen(type.round(-std::numeric_limits<float>::quiet_NaN()))));
}

TEST_P(Float16, AddsAtEveryLength) {
  const Type& type = GetParam();
  for (std::size_t n = 0; n < 100; ++n) {
    std::vector<std::uint16_t> from(n);
    std::vector<std::uint16_t> to(n + 1, 0x1234);
    std::vector<std::uint16_t> expected(to);
    for (std::size_t i = 0; i < n; ++i) {
      from[i] = static_cast<std::uint16_t>(i * 641 + n * 7919);
      to[i] = static_cast<std::uint16_t>(i * 4099 + n * 31);
      expected[i] = type.round(type.widen(from[i]) + type.widen(to[i]));
    }
    type.add(from.data(), to.data(), n);
    EXPECT_EQ(to, expected) << n;
  }
}

}  // namespace
}  // namespace lockstep
