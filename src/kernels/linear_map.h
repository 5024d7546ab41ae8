// Straight-line code for "out = matrix * in" on vectors, from the matrix at compile time: zeros
// cost nothing, ones no product, and what +p and -p have in common is computed once.
#pragma once

#include <type_traits>
#include <utility>

#include "toom_cook.h"

#define LOCKSTEP_INLINE inline __attribute__((always_inline))

namespace lockstep::kernels {

/// body(0), ..., body(Count - 1) with compile-time indices.
template <int Count, class Body>
LOCKSTEP_INLINE void unrolled(Body body) {
  [&]<int... I>(std::integer_sequence<int, I...>) __attribute__((always_inline)) {
    (body(std::integral_constant<int, I>{}), ...);
  }
  (std::make_integer_sequence<int, Count>{});
}

constexpr bool negligible(double x) { return x < 1e-12 && x > -1e-12; }

/// Whether a and b, rows or columns of n entries, are equal in some entries and opposite in all
/// others: then even = (a + b) / 2 and odd = (a - b) / 2 share no entry.
template <class Entry>
constexpr bool mirrored(int n, Entry entry) {
  int even = 0, odd = 0;
  for (int i = 0; i < n; ++i) {
    const double a = entry(i, 0), b = entry(i, 1);
    if (negligible(a) && negligible(b)) continue;
    if (negligible(a - b)) {
      ++even;
    } else if (negligible(a + b)) {
      ++odd;
    } else {
      return false;
    }
  }
  return even > 0 && odd > 0;
}
template <class Map>
constexpr bool mirrored_rows(int j) {
  return j + 1 < Map::kRows &&
         mirrored(Map::kColumns, [j](int i, int k) { return Map::kMatrix.values[j + k][i]; });
}
template <class Map>
constexpr bool mirrored_columns(int j) {
  return j + 1 < Map::kColumns &&
         mirrored(Map::kRows, [j](int i, int k) { return Map::kMatrix.values[i][j + k]; });
}
template <class Map>
constexpr int count_mirrored_rows() {
  int count = 0;
  for (int j = 0; j < Map::kRows; ++j) count += mirrored_rows<Map>(j);
  return count;
}

/// The sum of Coefficients::at(i) in[i], in the order of i.
template <class V, class Coefficients, int Count>
LOCKSTEP_INLINE typename V::Vector combination(const typename V::Vector* in) {
  typename V::Vector sum = V::zero();
  [&]<int... I>(std::integer_sequence<int, I...>) __attribute__((always_inline)) {
    bool empty = true;
    (
        [&]() __attribute__((always_inline)) {
          constexpr double kFactor = Coefficients::at(I);
          if constexpr (!negligible(kFactor)) {
            if constexpr (negligible(kFactor - 1)) {
              sum = empty ? in[I] : V::add(sum, in[I]);
            } else if constexpr (negligible(kFactor + 1)) {
              sum = V::subtract(sum, in[I]);
            } else {
              const auto factor = V::fill(static_cast<float>(kFactor));
              sum = empty ? V::multiply(factor, in[I]) : V::multiply_add(factor, in[I], sum);
            }
            empty = false;
          }
        }(),
        ...);
  }
  (std::make_integer_sequence<int, Count>{});
  return sum;
}

template <class Map, int J>
struct RowCoefficients {
  static constexpr double at(int i) { return Map::kMatrix.values[J][i]; }
};
/// Half the sum (Sign 1) or half the difference (Sign -1) of rows J and J + 1.
template <class Map, int J, int Sign>
struct RowPairCoefficients {
  static constexpr double at(int i) {
    return 0.5 * (Map::kMatrix.values[J][i] + Sign * Map::kMatrix.values[J + 1][i]);
  }
};
/// Row J of the matrix that takes x_j + x_{j+1} and x_j - x_{j+1} in place of mirrored columns.
template <class Map, int J>
struct FoldedRowCoefficients {
  static constexpr double at(int i) {
    const auto& row = Map::kMatrix.values[J];
    if (mirrored_columns<Map>(i)) return 0.5 * (row[i] + row[i + 1]);
    if (i > 0 && mirrored_columns<Map>(i - 1)) return 0.5 * (row[i - 1] - row[i]);
    return row[i];
  }
};

template <class V, class Map, int J = 0>
LOCKSTEP_INLINE void apply_rows(const typename V::Vector* in, typename V::Vector* out) {
  if constexpr (J < Map::kRows) {
    if constexpr (mirrored_rows<Map>(J)) {
      const auto even = combination<V, RowPairCoefficients<Map, J, 1>, Map::kColumns>(in);
      const auto odd = combination<V, RowPairCoefficients<Map, J, -1>, Map::kColumns>(in);
      out[J] = V::add(even, odd);
      out[J + 1] = V::subtract(even, odd);
      apply_rows<V, Map, J + 2>(in, out);
    } else {
      out[J] = combination<V, RowCoefficients<Map, J>, Map::kColumns>(in);
      apply_rows<V, Map, J + 1>(in, out);
    }
  }
}

template <class V, class Map>
LOCKSTEP_INLINE void apply_columns(const typename V::Vector* in, typename V::Vector* out) {
  typename V::Vector folded[Map::kColumns];
  unrolled<Map::kColumns>([&](auto i) __attribute__((always_inline)) {
    if constexpr (mirrored_columns<Map>(i)) {
      folded[i] = V::add(in[i], in[i + 1]);
    } else if constexpr (i > 0 && mirrored_columns<Map>(i - 1)) {
      folded[i] = V::subtract(in[i - 1], in[i]);
    } else {
      folded[i] = in[i];
    }
  });
  unrolled<Map::kRows>([&](auto j) __attribute__((always_inline)) {
    out[j] = combination<V, FoldedRowCoefficients<Map, j>, Map::kColumns>(folded);
  });
}

/// out [Map::kRows] = matrix * in [Map::kColumns].
template <class V, class Map>
LOCKSTEP_INLINE void apply(const typename V::Vector* in, typename V::Vector* out) {
  if constexpr (count_mirrored_rows<Map>() > 0) {
    apply_rows<V, Map>(in, out);
  } else {
    apply_columns<V, Map>(in, out);
  }
}

/// out = matrix * in * matrix^T: load(i, j) gives in[i][j], store(i, j, v) takes out[i][j].
template <class V, class Map, class Load, class Store>
LOCKSTEP_INLINE void apply_both_sides(Load load, Store store) {
  typename V::Vector half[Map::kRows][Map::kColumns];
  for (int j = 0; j < Map::kColumns; ++j) {
    typename V::Vector in[Map::kColumns], out[Map::kRows];
    unrolled<Map::kColumns>([&](auto i) __attribute__((always_inline)) { in[i] = load(i, j); });
    apply<V, Map>(in, out);
    unrolled<Map::kRows>([&](auto i) __attribute__((always_inline)) { half[i][j] = out[i]; });
  }
  for (int i = 0; i < Map::kRows; ++i) {
    typename V::Vector out[Map::kRows];
    apply<V, Map>(half[i], out);
    unrolled<Map::kRows>([&](auto j) __attribute__((always_inline)) { store(i, j, out[j]); });
  }
}

}  // namespace lockstep::kernels
