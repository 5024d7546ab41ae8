#include "lockstep/base/random.h"

#include <Random123/philox.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

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

#if defined(__x86_64__)

// Philox of eight blocks at once: with Random123, which computes one, dropout's masks took a
// hundredth of a training step. Lane i of the four registers belongs to block i.

struct Philox8 {
  __m256i words[4];
};

struct Products {
  __m256i high, low;
};

// The high and the low 32 bits of each lane times `factor`, which is the same in all lanes.
[[gnu::target("avx2")]] inline Products products(__m256i lanes, __m256i factor) {
  const __m256i even = _mm256_mul_epu32(lanes, factor);
  const __m256i odd = _mm256_mul_epu32(_mm256_srli_epi64(lanes, 32), factor);
  constexpr int kOdd = 0b10101010;
  return {_mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, kOdd),
          _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), kOdd)};
}

[[gnu::target("avx2")]] inline Philox8 philox_of_eight(Philox8 counter,
                                                       const r123::Philox4x32::key_type& key) {
  const __m256i first = _mm256_set1_epi32(static_cast<int>(PHILOX_M4x32_0));
  const __m256i second = _mm256_set1_epi32(static_cast<int>(PHILOX_M4x32_1));
  auto& [a, b, c, d] = counter.words;
  std::uint32_t key0 = key[0], key1 = key[1];
  for (int round = 0; round < PHILOX4x32_DEFAULT_ROUNDS; ++round) {
    const Products of_a = products(a, first), of_c = products(c, second);
    a = _mm256_xor_si256(_mm256_xor_si256(of_c.high, b), _mm256_set1_epi32(static_cast<int>(key0)));
    b = of_c.low;
    c = _mm256_xor_si256(_mm256_xor_si256(of_a.high, d), _mm256_set1_epi32(static_cast<int>(key1)));
    d = of_a.low;
    key0 += PHILOX_W32_0;
    key1 += PHILOX_W32_1;
  }
  return counter;
}

// Block after block, as random_words() has them.
[[gnu::target("avx2")]] inline void write_blocks(const Philox8& blocks, std::uint32_t* out) {
  const auto& [a, b, c, d] = blocks.words;
  const __m256i ab_low = _mm256_unpacklo_epi32(a, b), ab_high = _mm256_unpackhi_epi32(a, b);
  const __m256i cd_low = _mm256_unpacklo_epi32(c, d), cd_high = _mm256_unpackhi_epi32(c, d);
  // Each holds two blocks: i in its low half, i + 4 in its high one.
  const __m256i pairs[4] = {
      _mm256_unpacklo_epi64(ab_low, cd_low), _mm256_unpackhi_epi64(ab_low, cd_low),
      _mm256_unpacklo_epi64(ab_high, cd_high), _mm256_unpackhi_epi64(ab_high, cd_high)};
  auto* to = reinterpret_cast<__m256i*>(out);
  _mm256_storeu_si256(to, _mm256_permute2x128_si256(pairs[0], pairs[1], 0x20));
  _mm256_storeu_si256(to + 1, _mm256_permute2x128_si256(pairs[2], pairs[3], 0x20));
  _mm256_storeu_si256(to + 2, _mm256_permute2x128_si256(pairs[0], pairs[1], 0x31));
  _mm256_storeu_si256(to + 3, _mm256_permute2x128_si256(pairs[2], pairs[3], 0x31));
}

constexpr int kBlocksAtOnce = 8;
constexpr std::size_t kWordsAtOnce = 4 * kBlocksAtOnce;

// As many whole runs of eight blocks as `out` holds; returns the number of words.
[[gnu::target("avx2")]] std::size_t fill_eight_blocks_at_once(
    const r123::Philox4x32::ctr_type& counter, const r123::Philox4x32::key_type& key,
    std::span<std::uint32_t> out) {
  Philox8 counters{{_mm256_add_epi32(_mm256_set1_epi32(static_cast<int>(counter[0])),
                                     _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)),
                    _mm256_set1_epi32(static_cast<int>(counter[1])),
                    _mm256_set1_epi32(static_cast<int>(counter[2])),
                    _mm256_set1_epi32(static_cast<int>(counter[3]))}};
  std::size_t done = 0;
  for (; done + kWordsAtOnce <= out.size(); done += kWordsAtOnce) {
    write_blocks(philox_of_eight(counters, key), out.data() + done);
    counters.words[0] = _mm256_add_epi32(counters.words[0], _mm256_set1_epi32(kBlocksAtOnce));
  }
  return done;
}

#endif

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
#if defined(__x86_64__)
  static const bool has_avx2 = __builtin_cpu_supports("avx2") != 0;
  if (has_avx2) {
    i = fill_eight_blocks_at_once(counter, philox_seed, out);
    counter[0] += static_cast<std::uint32_t>(i / 4);
  }
#endif
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
