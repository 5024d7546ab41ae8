// Compiled with -mavx512f.
#include <immintrin.h>

#include "base/philox_lanes.h"

namespace lockstep {

namespace {

// The operations of philox_avx2.cpp.
struct Avx512 {
  using Lanes [[gnu::vector_size(64)]] = std::uint64_t;
  static constexpr int kLanes = 8;

  static Lanes product(Lanes x, Lanes y) {
    return reinterpret_cast<Lanes>(
        _mm512_mul_epu32(reinterpret_cast<__m512i>(x), reinterpret_cast<__m512i>(y)));
  }
  static __m512i pairs(Lanes x, Lanes y) {
    return _mm512_mask_blend_epi32(0b1010101010101010, reinterpret_cast<__m512i>(x),
                                   reinterpret_cast<__m512i>(y << 32));
  }
  static void store(__m512i ab, __m512i cd, std::uint32_t* out) {
    const __m512i first = _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11);
    const __m512i second = _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15);
    _mm512_storeu_si512(out, _mm512_permutex2var_epi64(ab, first, cd));
    _mm512_storeu_si512(out + 16, _mm512_permutex2var_epi64(ab, second, cd));
  }
};

}  // namespace

std::size_t fill_philox_avx512(const PhiloxStart& start, std::span<std::uint32_t> out) {
  return fill_philox<Avx512, 1>(start, fill_philox<Avx512, 4>(start, 0, out), out);
}

}  // namespace lockstep
