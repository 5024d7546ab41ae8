// Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as
// 1, 2, 3", SC'11; Random123 beneath). A number is a pure function of (seed, purpose, epoch,
// sample, layer, element): it depends neither on the rank that draws it nor on the batch it falls
// in.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "lockstep/base/random_key.h"

namespace lockstep {

/// The four 32-bit words number 4*block .. 4*block+3 of a stream. Stateless, thread-safe.
std::array<std::uint32_t, 4> random_words(const RandomKey& key, std::uint32_t block);

/// Fills `out` with the words of the stream from block `first` on: the values random_words gives.
void fill_random_words(const RandomKey& key, std::span<std::uint32_t> out, std::uint32_t first = 0);

/// Uniform in [0, 1) with 24 bits: k / 2^24.
constexpr float uniform_float(std::uint32_t word) {
  return static_cast<float>(word >> 8) * 0x1p-24f;
}
/// Uniform in [0, 1) with 53 bits.
constexpr double uniform_double(std::uint32_t high, std::uint32_t low) {
  const std::uint64_t bits = (static_cast<std::uint64_t>(high) << 32 | low) >> 11;
  return static_cast<double>(bits) * 0x1p-53;
}

/// A seekable pseudo-random permutation of 0 .. size-1: a balanced Feistel network of Philox rounds
/// on the smallest even number of bits that holds size, with cycle walking (Black and Rogaway,
/// "Ciphers with arbitrary finite domains", 2002). Constant memory, expected < 4 network
/// evaluations a query. Immutable, thread-safe.
class RandomPermutation {
 public:
  /// size >= 0. The permutation is a pure function of (size, seed, purpose, epoch).
  RandomPermutation(std::uint64_t size, std::uint64_t seed, Purpose purpose, std::uint32_t epoch);
  std::uint64_t size() const { return size_; }
  /// position in [0, size) -> element in [0, size).
  std::uint64_t operator()(std::uint64_t position) const;

 private:
  std::uint64_t encrypt(std::uint64_t value) const;
  std::uint64_t size_;
  int half_bits_;
  RandomKey key_;
};

}  // namespace lockstep
