#include "lockstep/base/random.h"

#include <Random123/philox.h>

#include <algorithm>
#include <bit>

#include "base/philox.h"
#include "lockstep/base/error.h"

namespace lockstep {

namespace {

PhiloxStart philox_start(const RandomKey& key, std::uint32_t block) {
  const auto high = static_cast<std::uint32_t>(key.sample >> 32) & 0xffffu;
  return {
      .counter = {block, static_cast<std::uint32_t>(key.sample), key.epoch,
                  static_cast<std::uint32_t>(key.purpose) << 24 |
                      static_cast<std::uint32_t>(key.layer) << 16 | high},
      .key = {static_cast<std::uint32_t>(key.seed), static_cast<std::uint32_t>(key.seed >> 32)}};
}

}  // namespace

std::array<std::uint32_t, 4> random_words(const RandomKey& key, std::uint32_t block) {
  const auto& [counter, seed] = philox_start(key, block);
  const auto words =
      r123::Philox4x32()({{counter[0], counter[1], counter[2], counter[3]}}, {{seed[0], seed[1]}});
  return {words[0], words[1], words[2], words[3]};
}

void fill_random_words(const RandomKey& key, std::span<std::uint32_t> out, std::uint32_t first) {
  std::size_t done = 0;
  static PhiloxFill* const fill_many = find_philox(best_instruction_set());
  if (fill_many != nullptr) done = fill_many(philox_start(key, first), out);
  while (done < out.size()) {
    const auto words = random_words(key, first + static_cast<std::uint32_t>(done / 4));
    const std::size_t count = std::min(words.size(), out.size() - done);
    std::copy_n(words.begin(), count, out.begin() + static_cast<std::ptrdiff_t>(done));
    done += count;
  }
}

RandomPermutation::RandomPermutation(std::uint64_t size, std::uint64_t seed, Purpose purpose,
                                     std::uint32_t epoch)
    : size_(size),
      half_bits_((static_cast<int>(std::bit_width(size > 1 ? size - 1 : 1)) + 1) / 2),
      key_{.seed = seed, .purpose = purpose, .epoch = epoch} {
  LOCKSTEP_CHECK(half_bits_ <= 24, "a permutation of {} elements is too large", size);
}

std::uint64_t RandomPermutation::encrypt(std::uint64_t value) const {
  const std::uint64_t mask = (std::uint64_t{1} << half_bits_) - 1;
  std::uint64_t left = value >> half_bits_;
  std::uint64_t right = value & mask;
  constexpr std::uint8_t kRounds = 8;
  RandomKey key = key_;
  for (std::uint8_t round = 0; round < kRounds; ++round) {
    key.layer = round;
    key.sample = right;
    const std::uint64_t mixed = left ^ (random_words(key, 0)[0] & mask);
    left = right;
    right = mixed;
  }
  return left << half_bits_ | right;
}

std::uint64_t RandomPermutation::operator()(std::uint64_t position) const {
  LOCKSTEP_CHECK(position < size_, "position {} lies outside a permutation of {}", position, size_);
  std::uint64_t value = position;
  do {
    value = encrypt(value);
  } while (value >= size_);
  return value;
}

}  // namespace lockstep
