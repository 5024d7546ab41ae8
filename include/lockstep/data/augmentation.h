// Random affine changes of an image: rotation, shift and zoom, as Keras's ImageDataGenerator
// composes them.
#pragma once

#include <cstdint>

namespace lockstep {

/// 0 turns a change off.
struct AugmentationOptions {
  /// Rotation by an angle from U(-rotation, rotation), degrees, [0, 180].
  double rotation = 10.0;
  /// Width and height are scaled by independent factors from U(1 - zoom, 1 + zoom), [0, 1).
  double zoom = 0.1;
  /// Horizontal shift from U(-shift_x, shift_x) times the width, [0, 1].
  double shift_x = 0.1;
  /// Vertical shift from U(-shift_y, shift_y) times the height, [0, 1].
  double shift_y = 0.1;

  bool enabled() const { return rotation > 0 || zoom > 0 || shift_x > 0 || shift_y > 0; }
};

/// Maps a point of the output image to the point of the input image whose value it takes:
///   x_in = a x + b y + tx,   y_in = c x + d y + ty
/// in the coordinates of LibTorch's affine_grid with align_corners = false: x to the right and y
/// downwards, the image's outer edges at -1 and 1. The defaults are the identity.
struct Affine {
  double a = 1, b = 0, tx = 0;
  double c = 0, d = 1, ty = 0;
};

/// The change that `sample` undergoes in `epoch`: a pure function of its arguments, so it depends
/// neither on the batch nor on the rank. In pixels from the image's centre p_in = R (Z p + t): Z
/// scales x and y, t is the shift, R rotates (Keras's matrix rotation * shift * zoom).
/// `height_over_width` keeps R a rotation where an image is not square.
Affine draw_affine(const AugmentationOptions& options, std::uint64_t seed, std::uint32_t epoch,
                   std::uint64_t sample, double height_over_width = 1.0);

/// out[c, y, x] = the bilinear interpolation of in[c] at affine(x, y), pixels outside counting as
/// zero: grid_sample(mode = bilinear, padding_mode = zeros, align_corners = false). Both are
/// [channels, height, width] and must not overlap; values must be finite, and no point be led 2^30
/// pixels away. Takes no memory. Thread-safe. The bits of a result do not depend on the instruction
/// set.
void warp(const float* in, float* out, std::int64_t channels, std::int64_t height,
          std::int64_t width, const Affine& affine);

}  // namespace lockstep
