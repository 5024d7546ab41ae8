// Pooling, and the direct convolution for few input channels, where transforms would not pay.
#pragma once

#include "product.h"
#include "winograd.h"

namespace lockstep::kernels {

template <class V, bool kDrops>
LOCKSTEP_INLINE void pool_sample(const Geometry& g, const float* full, const Dropout& dropout,
                                 float* output, std::uint8_t* routes) {
  const int channels = g.out_channels;
  const long row_stride = static_cast<long>(g.width) * channels;
  [[maybe_unused]] const std::uint8_t* keep = dropout.keep;
  for (int y = 0; y < g.height / 2; ++y) {
    for (int x = 0; x < g.width / 2; ++x) {
      const float* corner = full + 2L * y * row_stride + 2L * x * channels;
      for (int c = 0; c < channels; c += V::kLanes) {
        auto best = V::load(corner + c);
        auto winner = V::zero();
        V::take_greater(V::load(corner + channels + c), 1, best, winner);
        V::take_greater(V::load(corner + row_stride + c), 2, best, winner);
        V::take_greater(V::load(corner + row_stride + channels + c), 3, best, winner);
        if constexpr (kDrops) {
          best = V::where_byte_is(V::multiply(best, V::fill(dropout.scale)), keep + c, 1);
        }
        V::store(output + c, best);
        V::store_bytes(routes + c, V::replace_where_not_positive(winner, 4, best));
      }
      output += channels;
      routes += channels;
      if constexpr (kDrops) keep += channels;
    }
  }
}

template <class V>
void pool(const Geometry& g, const float* full, const Dropout& dropout, float* output,
          std::uint8_t* routes) {
  dropout.keep != nullptr ? pool_sample<V, true>(g, full, dropout, output, routes)
                          : pool_sample<V, false>(g, full, dropout, output, routes);
}

/// The routes of a layer without pooling.
template <class V>
void mark_positive(const Geometry& g, const float* full, std::uint8_t* routes) {
  const long count = g.full_floats();
  for (long i = 0; i < count; i += V::kLanes) {
    V::store_positive_bits(routes + i / 8, V::load(full + i));
  }
}

/// Where tap number `tap` of a pixel's window lies in the padded image, from the window's corner.
LOCKSTEP_INLINE long tap_offset(const Geometry& g, int tap) {
  const int row = g.kernel * g.in_channels;
  return tap / row * g.padded_row() + tap % row;
}

/// Rows pixels of an image row from `window` on, Columns vectors of channels.
template <class V, int Rows, int Columns>
__attribute__((noinline)) void direct_tile(const Geometry& g, const float* window,
                                           const float* weights, const float* bias, float* out) {
  typename V::Vector sum[Rows][Columns];
  unrolled<Rows * Columns>([&](auto i) __attribute__((always_inline)) {
    sum[i / Columns][i % Columns] = V::load(bias + (i % Columns) * V::kLanes);
  });
  const int row = g.kernel * g.in_channels;
  for (int y = 0; y < g.kernel; ++y) {
    for (int tap = 0; tap < row; ++tap) {
      outer_product<V, Rows, Columns>(
          [&](int i) __attribute__((always_inline)) {
            return window + tap + static_cast<long>(i) * g.in_channels;
          },
          weights, sum);
      weights += g.out_channels;
    }
    window += g.padded_row();
  }
  unrolled<Rows * Columns>([&](auto i) __attribute__((always_inline)) {
    V::store(out + static_cast<long>(i / Columns) * g.out_channels + (i % Columns) * V::kLanes,
             V::relu(sum[i / Columns][i % Columns]));
  });
}

template <class V>
void direct_output(const Geometry& g, const float* padded, const float* weights, const float* bias,
                   float* full) {
  for (int y = 0; y < g.height; ++y) {
    in_panels<V>(
        g.out_channels, [&](int channel, auto columns) __attribute__((always_inline)) {
          in_row_tiles<rows_of_tile<V, columns>()>(
              g.width, [&](int x, auto rows) __attribute__((always_inline)) {
                direct_tile<V, rows, columns>(
                    g, padded + y * g.padded_row() + static_cast<long>(x) * g.in_channels,
                    weights + channel, bias + channel,
                    full + (static_cast<long>(y) * g.width + x) * g.out_channels + channel);
              });
        });
  }
}

/// Rows taps, Columns vectors of channels: adds one image row's share to `weights`.
template <class V, int Rows, int Columns>
__attribute__((noinline)) void direct_gradient_tile(const Geometry& g, int first_tap,
                                                    const float* window, const float* gradient,
                                                    float* weights) {
  const float* taps[Rows];
  for (int i = 0; i < Rows; ++i) taps[i] = window + tap_offset(g, first_tap + i);
  typename V::Vector sum[Rows][Columns];
  unrolled<Rows * Columns>([&](auto i) __attribute__((always_inline)) {
    sum[i / Columns][i % Columns] = V::load(
        weights + static_cast<long>(i / Columns) * g.out_channels + (i % Columns) * V::kLanes);
  });
  for (int x = 0; x < g.width; ++x) {
    outer_product<V, Rows, Columns>(
        [&](int i) __attribute__((always_inline)) {
          return taps[i] + static_cast<long>(x) * g.in_channels;
        },
        gradient + static_cast<long>(x) * g.out_channels, sum);
  }
  unrolled<Rows * Columns>([&](auto i) __attribute__((always_inline)) {
    V::store(weights + static_cast<long>(i / Columns) * g.out_channels + (i % Columns) * V::kLanes,
             sum[i / Columns][i % Columns]);
  });
}

/// The gradients that reach row y of the convolution's output, Vectors vectors of channels from
/// `channel` on: into `row`, and their sum added to `bias`.
template <class V, int Vectors>
LOCKSTEP_INLINE void pass_row(const Geometry& g, const OutputGradient& from, int y, int channel,
                              float* bias, float* row) {
  typename V::Vector sum[Vectors];
  unrolled<Vectors>([&](auto i) __attribute__((always_inline)) { sum[i] = V::zero(); });
  for (int x = 0; x < g.width; ++x) {
    const PassedGradient passed = passed_gradient(g, from, 0, y, x);
    unrolled<Vectors>([&](auto i) __attribute__((always_inline)) {
      const int c = channel + i * V::kLanes;
      const auto v = g.pool ? passed.load_pooled<V>(c) : passed.load<V>(c);
      sum[i] = V::add(sum[i], v);
      V::store(row + i * V::kLanes, v);
    });
    row += g.out_channels;
  }
  unrolled<Vectors>([&](auto i) __attribute__((always_inline)) {
    float* at = bias + i * V::kLanes;
    V::store(at, V::add(V::load(at), sum[i]));
  });
}

template <class V>
void direct_weight_gradient(const Geometry& g, const float* padded, const OutputGradient& from,
                            float* weights, float* bias, float* row) {
  for (int y = 0; y < g.height; ++y) {
    fetch_gradient_ahead(g, from, 0, y + 2, 0, 2, g.width);
    in_panels<V>(
        g.out_channels, [&](int channel, auto vectors) __attribute__((always_inline)) {
          pass_row<V, vectors>(g, from, y, channel, bias + channel, row + channel);
        });
    in_panels<V>(
        g.out_channels, [&](int channel, auto columns) __attribute__((always_inline)) {
          in_row_tiles<rows_of_tile<V, columns>()>(
              g.taps(), [&](int tap, auto rows) __attribute__((always_inline)) {
                direct_gradient_tile<V, rows, columns>(
                    g, tap, padded + y * g.padded_row(), row + channel,
                    weights + static_cast<long>(tap) * g.out_channels + channel);
              });
        });
  }
}

}  // namespace lockstep::kernels
