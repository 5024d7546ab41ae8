// Sixteen floats in an AVX-512 register: the operations of vector_avx2.h. Only for files compiled
// with -mavx512f.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace lockstep::kernels {

struct Avx512 {
  using Vector = __m512;
  static constexpr int kLanes = 16;
  static constexpr int kRowsOfWideTile = 6;

  static Vector zero() { return _mm512_setzero_ps(); }
  static Vector load(const float* p) { return _mm512_loadu_ps(p); }
  static void store(float* p, Vector v) { _mm512_storeu_ps(p, v); }
  static Vector fill(float x) { return _mm512_set1_ps(x); }
  static Vector fill_from(const float* p) { return _mm512_set1_ps(*p); }
  static Vector add(Vector a, Vector b) { return _mm512_add_ps(a, b); }
  static Vector subtract(Vector a, Vector b) { return _mm512_sub_ps(a, b); }
  static Vector multiply(Vector a, Vector b) { return _mm512_mul_ps(a, b); }
  static Vector multiply_add(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }

  static Vector relu(Vector v) { return _mm512_max_ps(_mm512_setzero_ps(), v); }
  static void store_positive_bits(std::uint8_t* p, Vector v) {
    const __mmask16 bits = _mm512_cmp_ps_mask(v, _mm512_setzero_ps(), _CMP_NLE_UQ);
    __builtin_memcpy(p, &bits, sizeof(bits));
  }
  static Vector where_bit(Vector v, const std::uint8_t* p) {
    __mmask16 bits;
    __builtin_memcpy(&bits, p, sizeof(bits));
    return _mm512_maskz_mov_ps(bits, v);
  }
  static void take_greater(Vector v, float number, Vector& best, Vector& winner) {
    const auto take = static_cast<__mmask16>(_mm512_cmp_ps_mask(v, best, _CMP_GT_OQ) |
                                             _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q));
    best = _mm512_mask_mov_ps(best, take, v);
    winner = _mm512_mask_mov_ps(winner, take, fill(number));
  }
  static Vector replace_where_not_positive(Vector winner, float number, Vector v) {
    return _mm512_mask_mov_ps(winner, _mm512_cmp_ps_mask(v, _mm512_setzero_ps(), _CMP_LE_OQ),
                              fill(number));
  }
  static void store_bytes(std::uint8_t* p, Vector numbers) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                     _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(numbers)));
  }
  static Vector where_byte_is(Vector v, const std::uint8_t* p, int number) {
    const __m512i bytes =
        _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    return _mm512_maskz_mov_ps(_mm512_cmpeq_epi32_mask(bytes, _mm512_set1_epi32(number)), v);
  }
};

}  // namespace lockstep::kernels
