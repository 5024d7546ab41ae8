#include "lockstep/base/random.h"

#include <Random123/philox.h>

#include <bit>

#include "lockstep/base/error.h"

namespace lockstep {

namespace {

r123::Philox4x32::key_type philox_key(const RandomKey& key) {
  return {{static_cast<std::uint32_t>(key.seed), static_cast<std::uint32_t>(key.seed >> 32)}};
}

r123::Philox4x32::ctr_type philox_counter(const RandomKey& key, std::uint32_t block) {
  const auto high = static_cast<std::uint32_t>(key.sample >> 32) & 0xffffu;
  return {{block, static_cast<std::uint32_t>(key.sample), key.epoch,
           static_cast<std::uint32_t>(key.purpose) << 24 |
               static_cast<std::uint32_t>(key.layer) << 16 | high}};
}

}  // namespace

std::array<std::uint32_t, 4> random_words(const RandomKey& key, std::uint32_t block) {
  const auto words = r123::Philox4x32()(philox_counter(key, block), philox_key(key));
  return {words[0], words[1], words[2], words[3]};
}

void fill_random_words(const RandomKey& key, std::span<std::uint32_t> out, std::uint32_t first) {
  r123::Philox4x32 philox;
  auto counter = philox_counter(key, first);
  const auto philox_seed = philox_key(key);
  std::size_t i = 0;
  for (; i + 4 <= out.size(); i += 4) {
    const auto words = philox(counter, philox_seed);
    ++counter[0];
    out[i] = words[0];
    out[i + 1] = words[1];
    out[i + 2] = words[2];
    out[i + 3] = words[3];
  }
  if (i < out.size()) {
    const auto words = philox(counter, philox_seed);
    for (std::size_t j = 0; i < out.size(); ++i, ++j) out[i] = words[j];
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
