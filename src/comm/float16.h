// The two floating-point types of 16 bits, by their bits: IEEE 754 binary16, and bfloat16, the
// upper half of a float32. C++20 has neither. Rounding is to nearest, ties to even; what is too
// large becomes infinite, and every NaN one and the same.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

namespace lockstep {

inline float widen_bfloat16(std::uint16_t bits) {
  return std::bit_cast<float>(std::uint32_t{bits} << 16);
}

inline std::uint16_t round_to_bfloat16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t rounded = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
  const bool is_nan = (bits & 0x7fffffffu) > 0x7f800000u;
  return static_cast<std::uint16_t>(is_nan ? 0x7fc0u : rounded);
}

inline float widen_float16(std::uint16_t bits) {
  const std::uint32_t sign = (bits & 0x8000u) << 16;
  const std::uint32_t magnitude = bits & 0x7fffu;
  // Exponents of binary16 have a bias of 15, those of float32 one of 127.
  std::uint32_t wide = (magnitude << 13) + (112u << 23);
  if (magnitude >= 0x7c00u) wide = magnitude << 13 | 0x7f800000u;
  if (magnitude < 0x0400u) {  // subnormal: a multiple of 2^-24
    wide = std::bit_cast<std::uint32_t>(static_cast<float>(static_cast<std::int32_t>(magnitude)) *
                                        0x1p-24f);
  }
  return std::bit_cast<float>(sign | wide);
}

inline std::uint16_t round_to_float16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = bits >> 16 & 0x8000u;
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  std::uint32_t rounded = (magnitude - (112u << 23) + 0xfffu + (magnitude >> 13 & 1u)) >> 13;
  if (magnitude < 0x38800000u) {
    // Below 2^-14 the result is a multiple of 2^-24, to which the addition to 1/2 rounds.
    rounded = std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) - 0x3f000000u;
  }
  if (magnitude >= 0x477ff000u) rounded = 0x7c00u;  // from 65520 on
  if (magnitude > 0x7f800000u) return 0x7e00u;
  return static_cast<std::uint16_t>(sign | rounded);
}

/// to[i] = the rounded sum of from[i] and to[i].
void add_bfloat16(const std::uint16_t* from, std::uint16_t* to, std::size_t n);
void add_float16(const std::uint16_t* from, std::uint16_t* to, std::size_t n);

}  // namespace lockstep
