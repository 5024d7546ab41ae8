// The transforms of tiled convolution between images and tiles.
#pragma once

#include <cstdint>

#include "kernel_table.h"
#include "linear_map.h"
#include "product.h"

namespace lockstep::kernels {

/// Calls body(number in the run, sample, row of tiles, column of tiles) for every tile of a run.
template <class Body>
LOCKSTEP_INLINE void for_tiles(const Geometry& g, const TileRun& run, Body body) {
  long sample = run.first / g.tiles();
  const long place = run.first % g.tiles();
  int row = static_cast<int>(place / g.tile_columns);
  int column = static_cast<int>(place % g.tile_columns);
  for (int i = 0; i < run.count; ++i) {
    body(i, sample, row, column);
    if (++column < g.tile_columns) continue;
    column = 0;
    if (++row < g.tile_rows) continue;
    row = 0;
    ++sample;
  }
}

/// Asks for floats [first, first + count) of an array before they are needed; what lies outside of
/// it costs no more than the instruction.
LOCKSTEP_INLINE void fetch_ahead(const float* array, long first, long count) {
  constexpr long kLine = 16;
  const auto start =
      reinterpret_cast<std::uintptr_t>(array) + static_cast<std::uintptr_t>(first) * sizeof(float);
  for (long i = 0; i < count; i += kLine) {
    // NOLINTNEXTLINE(performance-no-int-to-ptr): an address behind the array is no pointer into it
    __builtin_prefetch(
        reinterpret_cast<const void*>(start + static_cast<std::uintptr_t>(i) * sizeof(float)),
        /*for writing=*/0, /*second-level cache=*/2);
  }
}

/// Asks for what the row of tiles after the one at (y, x) of an input or of its gradient reaches
/// besides it; after the last row, the next sample's.
template <class Tile>
LOCKSTEP_INLINE void fetch_next_row(const Geometry& g, const float* image, int y, int x) {
  constexpr int kInputs = ToomCook<Tile>::kInputs, kBorder = Tile::kKernel / 2;
  for (int r = 0; r < Tile::kOutputs; ++r) {
    fetch_ahead(image, (static_cast<long>(y + kInputs + r) * g.width + x + kBorder) * g.in_channels,
                static_cast<long>(Tile::kOutputs) * g.in_channels);
  }
}

template <class V, class Tile>
void transform_input(const Geometry& g, const TileRun& run, const float* images, float* tiles) {
  constexpr int kInputs = ToomCook<Tile>::kInputs, kBorder = Tile::kKernel / 2;
  const int channels = g.in_channels;
  const long plane = plane_stride(channels);
  for_tiles(g, run, [&](int i, long sample, int tile_row, int tile_column) {
    const int y = tile_row * Tile::kOutputs - kBorder, x = tile_column * Tile::kOutputs - kBorder;
    const float* image = images + sample * g.in_floats();
    float* tile = tiles + tile_offset(i, g.planes, channels);
    fetch_next_row<Tile>(g, image, y, x);
    const auto store = [&](int r, int c, typename V::Vector v) __attribute__((always_inline)) {
      V::store(tile + (r * kInputs + c) * plane, v);
    };
    if (y >= 0 && x >= 0 && y + kInputs <= g.height && x + kInputs <= g.width) {
      const float* corner = image + (static_cast<long>(y) * g.width + x) * channels;
      const long row_stride = static_cast<long>(g.width) * channels;
      for (int c = 0; c < channels; c += V::kLanes) {
        apply_both_sides<V, InputMap<Tile>>(
            [&](int r, int k) __attribute__((always_inline)) {
              return V::load(corner + r * row_stride + static_cast<long>(k) * channels);
            },
            store);
        corner += V::kLanes;
        tile += V::kLanes;
      }
      return;
    }
    const float* pixels[kInputs][kInputs];
    for (int r = 0; r < kInputs; ++r) {
      for (int k = 0; k < kInputs; ++k) {
        const bool inside = y + r >= 0 && y + r < g.height && x + k >= 0 && x + k < g.width;
        pixels[r][k] =
            inside ? image + (static_cast<long>(y + r) * g.width + x + k) * channels : run.zeros;
      }
    }
    for (int c = 0; c < channels; c += V::kLanes) {
      apply_both_sides<V, InputMap<Tile>>(
          [&](int r, int k) __attribute__((always_inline)) { return V::load(pixels[r][k] + c); },
          store);
      tile += V::kLanes;
    }
  });
}

/// Where the gradient of one pixel of the convolution's output comes from.
struct PassedGradient {
  const float* gradient;
  const std::uint8_t* routes;
  int number;   ///< of a pooled layer: the winner that lets it pass
  float scale;  ///< of a pooled layer

  template <class V>
  LOCKSTEP_INLINE typename V::Vector load(int c) const {
    return V::where_bit(V::load(gradient + c), routes + c / 8);
  }
  template <class V>
  LOCKSTEP_INLINE typename V::Vector load_pooled(int c) const {
    return V::where_byte_is(V::multiply(V::load(gradient + c), V::fill(scale)), routes + c, number);
  }
};

/// Of pixel (y, x); outside of the image, zeros.
LOCKSTEP_INLINE PassedGradient passed_gradient(const Geometry& g, const OutputGradient& from,
                                               long sample, int y, int x) {
  const int size = g.pool ? 2 : 1;
  const int rows = g.height / size, columns = g.width / size;
  if (y / size >= rows || x / size >= columns) {
    return {from.zeros, reinterpret_cast<const std::uint8_t*>(from.zeros), 0, 1};
  }
  const long at = ((sample * rows + y / size) * columns + x / size) * g.out_channels;
  if (g.pool) return {from.gradient + at, from.routes + at, y % 2 * 2 + x % 2, from.scale};
  return {from.gradient + at, from.routes + at / 8, 0, 1};
}

/// Asks for the gradient of `rows` x `columns` pixels from (y, x) on.
LOCKSTEP_INLINE void fetch_gradient_ahead(const Geometry& g, const OutputGradient& from,
                                          long sample, int y, int x, int rows, int columns) {
  const int size = g.pool ? 2 : 1;
  const long row_floats = static_cast<long>(g.width / size) * g.out_channels;
  const long first = sample * g.out_floats() + static_cast<long>(x / size) * g.out_channels;
  const long count = static_cast<long>((columns + size - 1) / size) * g.out_channels;
  for (int r = y / size; r < (y + rows) / size; ++r) {
    const long at = first + r * row_floats;
    fetch_ahead(from.gradient, at, count);
    // A winner takes a quarter of a float; bits are few.
    if (g.pool) fetch_ahead(reinterpret_cast<const float*>(from.routes), at / 4, count / 4);
  }
}

template <class V, class Tile>
void transform_gradient(const Geometry& g, const TileRun& run, const OutputGradient& from,
                        float* tiles, float* bias_gradient) {
  constexpr int kInputs = ToomCook<Tile>::kInputs, kOutputs = Tile::kOutputs;
  const long plane = plane_stride(g.out_channels);
  for_tiles(g, run, [&](int i, long sample, int tile_row, int tile_column) {
    float* tile = tiles + tile_offset(i, g.planes, g.out_channels);
    const int y = tile_row * kOutputs, x = tile_column * kOutputs;
    fetch_gradient_ahead(g, from, sample, y + kOutputs, x, kOutputs, kOutputs);
    PassedGradient passed[kOutputs][kOutputs];
    for (int r = 0; r < kOutputs; ++r) {
      for (int k = 0; k < kOutputs; ++k) {
        passed[r][k] = passed_gradient(g, from, sample, y + r, x + k);
      }
    }
    const auto transform = [&](int c, auto at) __attribute__((always_inline)) {
      auto sum = V::zero();
      apply_both_sides<V, OutputBackMap<Tile>>(
          [&](int r, int k) __attribute__((always_inline)) {
            const auto v = at(passed[r][k]);
            sum = V::add(sum, v);
            return v;
          },
          [&](int r, int k, typename V::Vector v) __attribute__((always_inline)) {
            V::store(tile + (r * kInputs + k) * plane + c, v);
          });
      V::store(bias_gradient + c, V::add(V::load(bias_gradient + c), sum));
    };
    for (int c = 0; c < g.out_channels; c += V::kLanes) {
      if (g.pool) {
        transform(
            c, [c](const PassedGradient& p)
                   __attribute__((always_inline)) { return p.template load_pooled<V>(c); });
      } else {
        transform(
            c, [c](const PassedGradient& p)
                   __attribute__((always_inline)) { return p.template load<V>(c); });
      }
    }
  });
}

template <class V, class Tile>
void finish_output(const Geometry& g, const TileRun& run, const float* tiles, const float* bias,
                   float* full) {
  constexpr int kInputs = ToomCook<Tile>::kInputs;
  const int channels = g.out_channels;
  const long plane = plane_stride(channels);
  for_tiles(g, run, [&](int i, long sample, int tile_row, int tile_column) {
    const int y = tile_row * Tile::kOutputs, x = tile_column * Tile::kOutputs;
    const int rows = g.height - y, columns = g.width - x;
    const bool whole = rows >= Tile::kOutputs && columns >= Tile::kOutputs;
    const float* tile = tiles + tile_offset(i, g.planes, channels);
    float* corner = full + ((sample * g.height + y) * g.width + x) * channels;
    const long row_stride = static_cast<long>(g.width) * channels;
    for (int c = 0; c < channels; c += V::kLanes) {
      const auto offset = V::load(bias + c);
      apply_both_sides<V, OutputMap<Tile>>(
          [&](int r, int k) __attribute__((always_inline)) {
            return V::load(tile + (r * kInputs + k) * plane + c);
          },
          [&](int r, int k, typename V::Vector v) __attribute__((always_inline)) {
            if (whole || (r < rows && k < columns)) {
              V::store(corner + r * row_stride + static_cast<long>(k) * channels + c,
                       V::relu(V::add(v, offset)));
            }
          });
    }
  });
}

template <class V, class Tile>
void add_input_gradient(const Geometry& g, const TileRun& run, const float* tiles, float* images) {
  constexpr int kInputs = ToomCook<Tile>::kInputs, kBorder = Tile::kKernel / 2;
  constexpr int kShared = kInputs - Tile::kOutputs;  // rows or columns with the tile before
  const int channels = g.in_channels;
  const long plane = plane_stride(channels);
  for_tiles(g, run, [&](int i, long sample, int tile_row, int tile_column) {
    const int y = tile_row * Tile::kOutputs - kBorder, x = tile_column * Tile::kOutputs - kBorder;
    const bool top = tile_row == 0, left = tile_column == 0;
    const bool whole = y >= 0 && x >= 0 && y + kInputs <= g.height && x + kInputs <= g.width;
    const float* tile = tiles + tile_offset(i, g.planes, channels);
    float* image = images + sample * g.in_floats();
    fetch_next_row<Tile>(g, image, y, x);
    for (int c = 0; c < channels; c += V::kLanes) {
      apply_both_sides<V, InputBackMap<Tile>>(
          [&](int r, int k) __attribute__((always_inline)) {
            return V::load(tile + (r * kInputs + k) * plane + c);
          },
          [&](int r, int k, typename V::Vector v) __attribute__((always_inline)) {
            if (!whole && (y + r < 0 || y + r >= g.height || x + k < 0 || x + k >= g.width)) {
              return;
            }
            float* at = image + (static_cast<long>(y + r) * g.width + x + k) * channels + c;
            const bool begins = (top || r >= kShared) && (left || k >= kShared);
            V::store(at, V::add(begins ? V::zero() : V::load(at), v));
          });
    }
  });
}

template <class V, class Tile>
void transform_weights(const Geometry& g, bool back, int first, int last, const float* weights,
                       float* transformed, float* space) {
  constexpr int kInputs = ToomCook<Tile>::kInputs, kTaps = Tile::kKernel * Tile::kKernel;
  const int rows = back ? g.out_channels : g.in_channels;
  const int columns = back ? g.in_channels : g.out_channels;
  const long row_stride = static_cast<long>(kTaps) * (back ? g.in_channels : 1);
  const long column_stride = static_cast<long>(kTaps) * (back ? 1 : g.in_channels);
  const long plane = static_cast<long>(rows) * columns;
  for (int row = first; row < last; ++row) {
    for (int column = 0; column < columns; ++column) {
      const float* filter = weights + row * row_stride + column * column_stride;
      for (int tap = 0; tap < kTaps; ++tap) space[tap * columns + column] = filter[tap];
    }
    float* out = transformed + static_cast<long>(row) * columns;
    for (int c = 0; c < columns; c += V::kLanes) {
      apply_both_sides<V, KernelMap<Tile>>(
          [&](int r, int k) __attribute__((always_inline)) {
            return V::load(space + (r * Tile::kKernel + k) * columns + c);
          },
          [&](int r, int k, typename V::Vector v)
              __attribute__((always_inline)) { V::store(out + (r * kInputs + k) * plane + c, v); });
    }
  }
}

template <class V, class Tile>
void finish_weight_gradient(const Geometry& g, const float* transformed, float* gradient) {
  constexpr int kInputs = ToomCook<Tile>::kInputs;
  const long plane = static_cast<long>(g.in_channels) * g.out_channels;
  for (long c = 0; c < plane; c += V::kLanes) {
    apply_both_sides<V, KernelBackMap<Tile>>(
        [&](int r, int k) __attribute__((always_inline)) {
          return V::load(transformed + (r * kInputs + k) * plane + c);
        },
        [&](int r, int k, typename V::Vector v) __attribute__((always_inline)) {
          V::store(gradient + (r * Tile::kKernel + k) * plane + c, v);
        });
  }
}

}  // namespace lockstep::kernels
