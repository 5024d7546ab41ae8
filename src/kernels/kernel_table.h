// What each instruction set provides: the passes of a convolution on a block of tiles or a sample.
// The callers are compiled for any CPU and choose a table at run time.
#pragma once

#include <cstdint>

namespace lockstep::kernels {

/// One layer as its kernels see it. Images lie in NHWC; tiles count by sample, row, column.
struct Geometry {
  int in_channels = 0;
  int out_channels = 0;
  int kernel = 0;
  int height = 0;
  int width = 0;
  bool pool = false;
  bool planar = false;  ///< of the callers: kernels have output and gradient in NHWC
  int tile_rows = 0;    ///< of one sample
  int tile_columns = 0;
  int planes = 0;  ///< products a tile; 0: the direct kernels

  long tiles() const { return static_cast<long>(tile_rows) * tile_columns; }
  long in_pixels() const { return static_cast<long>(height) * width; }
  long in_floats() const { return in_pixels() * in_channels; }
  /// Of the convolution's output, before pooling.
  long full_floats() const { return in_pixels() * out_channels; }
  /// Of the layer's output.
  long out_pixels() const {
    return pool ? static_cast<long>(height / 2) * (width / 2) : in_pixels();
  }
  long out_floats() const { return out_pixels() * out_channels; }
  int taps() const { return kernel * kernel * in_channels; }
  /// What a pass back needs to know of the layer's output: see FusedConvolution::forward.
  long route_bytes() const { return pool ? out_floats() : out_floats() / 8; }
  long weights() const { return static_cast<long>(taps()) * out_channels; }
  /// Direct kernels: floats of a sample with its border of zeros.
  long padded_row() const { return static_cast<long>(width + kernel - 1) * in_channels; }
  long padded_floats() const { return padded_row() * (height + kernel - 1); }
};

/// Dropout of a pooled layer's output.
struct Dropout {
  const std::uint8_t* keep;  ///< like the output, 1 or 0; null: everything is kept as it is
  float scale;               ///< of what is kept
};

/// The gradient of a layer's output, and by which routes it goes back. All of the first sample that
/// tiles count from.
struct OutputGradient {
  const float* gradient;
  const std::uint8_t* routes;
  const float* zeros;  ///< as many as the layer has output channels; outside of images, also routes
  float scale;         ///< of a pooled layer's gradient: its dropout's
};

/// A run of tiles: numbers first, ..., first + count - 1, counted from the sample that the pointers
/// passed with it point to. `zeros` has as many zeros as the layer has input channels.
struct TileRun {
  long first;
  int count;
  const float* zeros;
};

struct KernelTable {
  const char* name;
  int lanes;  ///< channels must be a multiple of it

  /// Tiles of transformed input from images.
  void (*transform_input)(const Geometry&, const TileRun&, const float* images, float* tiles);
  /// Tiles of transformed output gradient; adds its sum to bias_gradient [out_channels].
  void (*transform_gradient)(const Geometry&, const TileRun&, const OutputGradient&, float* tiles,
                             float* bias_gradient);
  /// Full images relu(inverse transform + bias) from tiles of products.
  void (*finish_output)(const Geometry&, const TileRun&, const float* tiles, const float* bias,
                        float* full);
  /// Adds tiles to the input gradient, where they overlap one another. A pixel begins with the
  /// first tile that reaches it: the tiles of a sample come in their order.
  void (*add_input_gradient)(const Geometry&, const TileRun&, const float* tiles, float* images);
  /// Rows [first, last) of the transformed weights [plane][rows][columns], rows being the input
  /// channels or, for the input gradient (`back`), the output channels. weights: PyTorch's
  /// [out][in][kernel][kernel]. space: kernel^2 x columns floats.
  void (*transform_weights)(const Geometry&, bool back, int first, int last, const float* weights,
                            float* transformed, float* space);
  /// [kernel^2][in][out] from [plane][in][out].
  void (*finish_weight_gradient)(const Geometry&, const float* transformed, float* gradient);
  /// See product.h.
  void (*multiply_planes)(int planes, int count, int in_channels, int out_channels, const float* in,
                          const float* matrix, float* out);
  void (*accumulate_planes)(int planes, int count, int in_channels, int out_channels,
                            const float* in, const float* gradient, bool begins, float* matrix);

  /// The routes of one sample of a layer without pooling.
  void (*mark_positive)(const Geometry&, const float* full, std::uint8_t* routes);
  /// 2x2 max-pooling and dropout of one sample, with its routes.
  void (*pool)(const Geometry&, const float* full, const Dropout&, float* output,
               std::uint8_t* routes);

  /// Direct: relu(convolution + bias) of one padded sample. weights: [taps][out_channels].
  void (*direct_output)(const Geometry&, const float* padded, const float* weights,
                        const float* bias, float* full);
  /// Direct: adds one sample's gradients to weights [taps][out_channels] and bias. row: width x
  /// out_channels floats of space.
  void (*direct_weight_gradient)(const Geometry&, const float* padded, const OutputGradient&,
                                 float* weights, float* bias, float* row);
};

}  // namespace lockstep::kernels
