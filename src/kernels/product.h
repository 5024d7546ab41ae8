// Small matrix products for every plane of transformed tiles.
#pragma once

#include "linear_map.h"
#include "tile_layout.h"

namespace lockstep::kernels {

/// sum[i][j] += a(i) b[j], a(i) a float in memory. Whichever of factors and row is shorter stays in
/// registers.
template <class V, int Rows, int Columns, class Factor>
LOCKSTEP_INLINE void outer_product(Factor factor, const float* b,
                                   typename V::Vector (&sum)[Rows][Columns]) {
  if constexpr (Rows < Columns) {
    typename V::Vector factors[Rows];
    unrolled<Rows>([&](auto i)
                       __attribute__((always_inline)) { factors[i] = V::fill_from(factor(i)); });
    unrolled<Columns>([&](auto j) __attribute__((always_inline)) {
      const auto row = V::load(b + j * V::kLanes);
      unrolled<Rows>([&](auto i) __attribute__((always_inline)) {
        sum[i][j] = V::multiply_add(factors[i], row, sum[i][j]);
      });
    });
  } else {
    typename V::Vector row[Columns];
    unrolled<Columns>([&](auto j)
                          __attribute__((always_inline)) { row[j] = V::load(b + j * V::kLanes); });
    unrolled<Rows>([&](auto i) __attribute__((always_inline)) {
      const auto filled = V::fill_from(factor(i));
      unrolled<Columns>([&](auto j) __attribute__((always_inline)) {
        sum[i][j] = V::multiply_add(filled, row[j], sum[i][j]);
      });
    });
  }
}

/// c[i][.] = sum over k < depth, in order, of a[i row_of_a + k] b[k b_row + .], Rows x Columns
/// vectors.
template <class V, int Rows, int Columns>
__attribute__((noinline)) void multiply_tile(const float* a, long row_of_a, const float* b,
                                             long b_row, float* c, long c_row, int depth) {
  typename V::Vector sum[Rows][Columns];
  unrolled<Rows * Columns>([&](auto i) __attribute__((always_inline)) {
    sum[i / Columns][i % Columns] = V::zero();
  });
  for (int k = 0; k < depth; ++k) {
    outer_product<V, Rows, Columns>(
        [&](int i) __attribute__((always_inline)) { return a + i * row_of_a + k; }, b, sum);
    b += b_row;
  }
  unrolled<Rows * Columns>([&](auto i) __attribute__((always_inline)) {
    V::store(c + (i / Columns) * c_row + (i % Columns) * V::kLanes, sum[i / Columns][i % Columns]);
  });
}

/// c[i][.] += sum over t < count, in order, of a(t)[i] b(t)[.]: a and b are tiles of one plane,
/// with `channels_of_a` and `channels_of_b` floats each. begins: c counts as zero.
template <class V, int Rows, int Columns>
__attribute__((noinline)) void accumulate_tile(const float* a, int channels_of_a, long a_group,
                                               const float* b, int channels_of_b, long b_group,
                                               bool begins, float* c, int count) {
  typename V::Vector sum[Rows][Columns];
  unrolled<Rows * Columns>([&](auto i) __attribute__((always_inline)) {
    const float* at =
        c + static_cast<long>(i / Columns) * channels_of_b + (i % Columns) * V::kLanes;
    sum[i / Columns][i % Columns] = begins ? V::zero() : V::load(at);
  });
  for (int first = 0; first < count; first += kGroup) {
    const int tiles = count - first < kGroup ? count - first : kGroup;
    const float* factors = a;
    const float* rows = b;
    for (int t = 0; t < tiles; ++t) {
      outer_product<V, Rows, Columns>(
          [&](int i) __attribute__((always_inline)) { return factors + i; }, rows, sum);
      factors += channels_of_a;
      rows += channels_of_b;
    }
    a += a_group;
    b += b_group;
  }
  unrolled<Rows * Columns>([&](auto i) __attribute__((always_inline)) {
    V::store(c + static_cast<long>(i / Columns) * channels_of_b + (i % Columns) * V::kLanes,
             sum[i / Columns][i % Columns]);
  });
}

/// Calls body(first row, constant number of rows) until `rows` are done: `Most` at a time, and the
/// rest in one or two parts that are not of a single row where that can be avoided.
template <int Most, class Body>
LOCKSTEP_INLINE void in_row_tiles(int rows, Body body) {
  int row = 0;
  for (; row + Most + 1 < rows || row + Most == rows; row += Most) {
    body(row, std::integral_constant<int, Most>{});
  }
  // At most Most + 1 are left.
  if (rows - row == Most + 1) {
    body(row, std::integral_constant<int, Most - 1>{});
    row += Most - 1;
  }
  unrolled<Most - 1>([&](auto less) __attribute__((always_inline)) {
    if (rows - row == less + 1) {
      body(row, std::integral_constant<int, less + 1>{});
      row += less + 1;
    }
  });
}

/// Calls body(first channel, constant number of vectors) for panels of up to four vectors.
template <class V, class Body>
LOCKSTEP_INLINE void in_panels(int channels, Body body) {
  constexpr int kWide = 4 * V::kLanes;
  int channel = 0;
  for (; channel + kWide <= channels; channel += kWide) {
    body(channel, std::integral_constant<int, 4>{});
  }
  const int left = (channels - channel) / V::kLanes;
  if (left == 3) body(channel, std::integral_constant<int, 3>{});
  if (left == 2) body(channel, std::integral_constant<int, 2>{});
  if (left == 1) body(channel, std::integral_constant<int, 1>{});
}

/// Rows of a register tile with so many vectors a row.
template <class V, int Columns>
constexpr int rows_of_tile() {
  return Columns > 2 ? V::kRowsOfWideTile : kGroup;
}

/// For each plane p: out tiles [count][out_channels] = in tiles [count][in_channels] times
/// matrix[p] [in_channels][out_channels]. An element is summed in the order of the input channels.
template <class V>
void multiply_planes(int planes, int count, int in_channels, int out_channels, const float* in,
                     const float* matrix, float* out) {
  const long in_group = group_stride(planes, in_channels);
  const long out_group = group_stride(planes, out_channels);
  for (int p = 0; p < planes; ++p) {
    const float* plane = in + p * plane_stride(in_channels);
    float* result = out + p * plane_stride(out_channels);
    for (int first = 0; first < count; first += kGroup) {
      const int tiles = count - first < kGroup ? count - first : kGroup;
      in_panels<V>(
          out_channels, [&](int channel, auto columns) __attribute__((always_inline)) {
            in_row_tiles<rows_of_tile<V, columns>()>(
                tiles, [&](int row, auto rows) __attribute__((always_inline)) {
                  multiply_tile<V, rows, columns>(
                      plane + static_cast<long>(row) * in_channels, in_channels, matrix + channel,
                      out_channels, result + static_cast<long>(row) * out_channels + channel,
                      out_channels, in_channels);
                });
          });
      plane += in_group;
      result += out_group;
    }
    matrix += static_cast<long>(in_channels) * out_channels;
  }
}

/// For each plane p: matrix[p] [in_channels][out_channels] += sum over the tiles, in order, of
/// input tile times gradient tile. begins: matrix counts as zero, whatever it holds.
template <class V>
void accumulate_planes(int planes, int count, int in_channels, int out_channels, const float* in,
                       const float* gradient, bool begins, float* matrix) {
  const long in_group = group_stride(planes, in_channels);
  const long out_group = group_stride(planes, out_channels);
  for (int p = 0; p < planes; ++p) {
    const float* a = in + p * plane_stride(in_channels);
    const float* b = gradient + p * plane_stride(out_channels);
    in_panels<V>(
        out_channels, [&](int channel, auto columns) __attribute__((always_inline)) {
          in_row_tiles<rows_of_tile<V, columns>()>(
              in_channels, [&](int row, auto rows) __attribute__((always_inline)) {
                accumulate_tile<V, rows, columns>(
                    a + row, in_channels, in_group, b + channel, out_channels, out_group, begins,
                    matrix + static_cast<long>(row) * out_channels + channel, count);
              });
        });
    matrix += static_cast<long>(in_channels) * out_channels;
  }
}

}  // namespace lockstep::kernels
