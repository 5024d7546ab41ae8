// Compiled with -mavx2 -mfma.
#include <immintrin.h>

#include "base/philox_lanes.h"

namespace lockstep {

namespace {

struct Avx2 {
  using Lanes [[gnu::vector_size(32)]] = std::uint64_t;
  static constexpr int kLanes = 4;

  /// Of the lower halves.
  static Lanes product(Lanes x, Lanes y) {
    return reinterpret_cast<Lanes>(
        _mm256_mul_epu32(reinterpret_cast<__m256i>(x), reinterpret_cast<__m256i>(y)));
  }
  /// The lower halves of x and y side by side, x first in memory.
  static __m256i pairs(Lanes x, Lanes y) {
    return _mm256_blend_epi32(reinterpret_cast<__m256i>(x), reinterpret_cast<__m256i>(y << 32),
                              0b10101010);
  }
  /// Lane after lane, that of ab before that of cd.
  static void store(__m256i ab, __m256i cd, std::uint32_t* out) {
    const __m256i even = _mm256_unpacklo_epi64(ab, cd), odd = _mm256_unpackhi_epi64(ab, cd);
    auto* to = reinterpret_cast<__m256i*>(out);
    _mm256_storeu_si256(to, _mm256_permute2x128_si256(even, odd, 0x20));
    _mm256_storeu_si256(to + 1, _mm256_permute2x128_si256(even, odd, 0x31));
  }
};

}  // namespace

// Two registers a word hide the latency of the products, and leave registers for the rest.
std::size_t fill_philox_avx2(const PhiloxStart& start, std::span<std::uint32_t> out) {
  return fill_philox<Avx2, 1>(start, fill_philox<Avx2, 2>(start, 0, out), out);
}

}  // namespace lockstep
