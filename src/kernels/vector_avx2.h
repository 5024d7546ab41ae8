// Eight floats in an AVX2 register. Only for files compiled with -mavx2 -mfma.
//
// All kernels are templates over a type like this one. Each operation is one IEEE operation a lane,
// multiply-adds are written out, and no operation crosses lanes, so that every instruction set
// gives the same bits.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace lockstep::kernels {

struct Avx2 {
  using Vector = __m256;
  static constexpr int kLanes = 8;
  /// Rows of a product's register tile of 4 or 3 vectors a row: with 16 registers.
  static constexpr int kRowsOfWideTile = 3;

  static Vector zero() { return _mm256_setzero_ps(); }
  static Vector load(const float* p) { return _mm256_loadu_ps(p); }
  static void store(float* p, Vector v) { _mm256_storeu_ps(p, v); }
  static Vector fill(float x) { return _mm256_set1_ps(x); }
  static Vector fill_from(const float* p) { return _mm256_broadcast_ss(p); }
  static Vector add(Vector a, Vector b) { return _mm256_add_ps(a, b); }
  static Vector subtract(Vector a, Vector b) { return _mm256_sub_ps(a, b); }
  static Vector multiply(Vector a, Vector b) { return _mm256_mul_ps(a, b); }
  /// a b + c, rounded once.
  static Vector multiply_add(Vector a, Vector b, Vector c) { return _mm256_fmadd_ps(a, b, c); }

  /// max(0, v); NaN stays (MAXPS returns its second operand then).
  static Vector relu(Vector v) { return _mm256_max_ps(_mm256_setzero_ps(), v); }
  /// A bit a lane, from the lowest of *p on: whether v is not <= 0 (so where it is NaN, too).
  static void store_positive_bits(std::uint8_t* p, Vector v) {
    *p = static_cast<std::uint8_t>(
        _mm256_movemask_ps(_mm256_cmp_ps(v, _mm256_setzero_ps(), _CMP_NLE_UQ)));
  }
  /// v where such a bit is 1, else 0.
  static Vector where_bit(Vector v, const std::uint8_t* p) {
    const __m256i lanes = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    const __m256i bits = _mm256_and_si256(_mm256_set1_epi32(*p), lanes);
    return _mm256_and_ps(v, _mm256_castsi256_ps(_mm256_cmpeq_epi32(bits, lanes)));
  }
  /// Where v is greater than best, or NaN: best = v and winner = number.
  static void take_greater(Vector v, float number, Vector& best, Vector& winner) {
    const Vector take =
        _mm256_or_ps(_mm256_cmp_ps(v, best, _CMP_GT_OQ), _mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    best = _mm256_blendv_ps(best, v, take);
    winner = _mm256_blendv_ps(winner, fill(number), take);
  }
  /// Where v <= 0: winner = number.
  static Vector replace_where_not_positive(Vector winner, float number, Vector v) {
    return _mm256_blendv_ps(winner, fill(number),
                            _mm256_cmp_ps(v, _mm256_setzero_ps(), _CMP_LE_OQ));
  }
  /// Small whole numbers as bytes, one a lane.
  static void store_bytes(std::uint8_t* p, Vector numbers) {
    const __m256i wide = _mm256_cvtps_epi32(numbers);
    const __m128i half =
        _mm_packs_epi32(_mm256_castsi256_si128(wide), _mm256_extracti128_si256(wide, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packus_epi16(half, half));
  }
  /// v where the byte at p + lane is `number`, else 0.
  static Vector where_byte_is(Vector v, const std::uint8_t* p, int number) {
    const __m256i bytes =
        _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
    return _mm256_and_ps(v,
                         _mm256_castsi256_ps(_mm256_cmpeq_epi32(bytes, _mm256_set1_epi32(number))));
  }
};

}  // namespace lockstep::kernels
