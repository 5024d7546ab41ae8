// All kernels for one instruction set. Include it only in files compiled for that set: everything
// here is a template over the vector type, inlined by force, or of integers only, so that the
// linker never takes code of one set for another's. For the same reason these headers use nothing
// of the standard library that is more than a type.
#pragma once

#include "direct.h"
#include "kernel_table.h"
#include "winograd.h"

namespace lockstep::kernels {

/// Calls `function` of the tile that a kernel of this size uses.
template <class V>
struct ByTile {
  static void input(const Geometry& g, const TileRun& run, const float* images, float* tiles) {
    g.kernel == 5 ? transform_input<V, Tile4x5>(g, run, images, tiles)
                  : transform_input<V, Tile5x3>(g, run, images, tiles);
  }
  static void gradient(const Geometry& g, const TileRun& run, const OutputGradient& from,
                       float* tiles, float* bias) {
    g.kernel == 5 ? transform_gradient<V, Tile4x5>(g, run, from, tiles, bias)
                  : transform_gradient<V, Tile5x3>(g, run, from, tiles, bias);
  }
  static void output(const Geometry& g, const TileRun& run, const float* tiles, const float* bias,
                     float* full) {
    g.kernel == 5 ? finish_output<V, Tile4x5>(g, run, tiles, bias, full)
                  : finish_output<V, Tile5x3>(g, run, tiles, bias, full);
  }
  static void input_gradient(const Geometry& g, const TileRun& run, const float* tiles,
                             float* images) {
    g.kernel == 5 ? add_input_gradient<V, Tile4x5>(g, run, tiles, images)
                  : add_input_gradient<V, Tile5x3>(g, run, tiles, images);
  }
  static void weights(const Geometry& g, bool back, int first, int last, const float* weights,
                      float* transformed, float* space) {
    g.kernel == 5
        ? transform_weights<V, Tile4x5>(g, back, first, last, weights, transformed, space)
        : transform_weights<V, Tile5x3>(g, back, first, last, weights, transformed, space);
  }
  static void weight_gradient(const Geometry& g, const float* transformed, float* gradient) {
    g.kernel == 5 ? finish_weight_gradient<V, Tile4x5>(g, transformed, gradient)
                  : finish_weight_gradient<V, Tile5x3>(g, transformed, gradient);
  }
};

template <class V>
constexpr KernelTable make_table(const char* name) {
  return {.name = name,
          .lanes = V::kLanes,
          .transform_input = ByTile<V>::input,
          .transform_gradient = ByTile<V>::gradient,
          .finish_output = ByTile<V>::output,
          .add_input_gradient = ByTile<V>::input_gradient,
          .transform_weights = ByTile<V>::weights,
          .finish_weight_gradient = ByTile<V>::weight_gradient,
          .multiply_planes = multiply_planes<V>,
          .accumulate_planes = accumulate_planes<V>,
          .mark_positive = mark_positive<V>,
          .pool = pool<V>,
          .direct_output = direct_output<V>,
          .direct_weight_gradient = direct_weight_gradient<V>};
}

}  // namespace lockstep::kernels
