// Convolution with bias, ReLU and 2x2 max-pooling as one layer, forward and backward, on plain
// arrays of float32.
//
//   full[b][y][x][o]  = max(0, bias[o] + sum over i, u, v of
//                              weight[o][i][u][v] input[b][y + u - r/2][x + v - r/2][i])
//   output            = full, or with pooling the greatest of each 2x2 window of it, which dropout
//                       may follow
//
// with kernels of r = 3 or 5, stride 1, and zeros around the image ("same" padding). Images lie in
// NHWC ([batch][height][width][channels], LibTorch's channels_last), weights in PyTorch's
// [out][in][r][r]. With an odd height or width, pooling leaves out the last row or column. NaN and
// infinities in the input come out as NaN or infinities; ReLU and pooling keep NaN.
//
// Layers of 8, 16, 24, ... input channels are computed on tiles, by the method of Toom and Cook
// that Winograd brought to filters (A. Lavin and S. Gray, "Fast Algorithms for Convolutional Neural
// Networks", CVPR 2016; src/kernels/toom_cook.h has the formulas). F(4x4, 5x5), at the points 0, 1,
// -1, 1/2, -1/2, 2, -2 and infinity, needs 4 products an output where the direct sum has 25, and
// F(5x5, 3x3), at plus and minus tan(k pi / 14), k = 1, 3, 5, and infinity, 1.96 where it has 9.
// The price is rounding: relative to double precision, root mean square over root mean square, the
// errors that tests/kernels allows are
//                     output     input gradient   weight gradient
//   F(4x4, 5x5)        1e-5           1e-5             5e-5
//   F(5x5, 3x3)        5e-6           5e-6             2e-5
// Where a sum is exactly 0, as over blank images while biases are 0, rounding decides on which side
// of ReLU it lies: gradients behind it are those of one side or the other.
// Layers of 1 to 4 input channels are computed directly, and give no input gradient.
#pragma once

#include <cstdint>

#include "lockstep/base/instruction_set.h"
#include "lockstep/kernels/executor.h"
#include "lockstep/kernels/workspace.h"

namespace lockstep {

namespace kernels {
struct Geometry;
struct KernelTable;
}  // namespace kernels

struct ConvolutionShape {
  int in_channels = 0;   ///< 1 to 4, or a multiple of 8
  int out_channels = 0;  ///< a multiple of 8
  int kernel = 0;        ///< 3 or 5
  int height = 0;        ///< of the input; >= 1, with pooling >= 2
  int width = 0;
  bool pool = false;
  /// Only with pooling: the output and its gradient lie in NCHW, for a dense layer to read.
  bool planar = false;
};

/// Whether FusedConvolution takes the shape, given a CPU with one of its instruction sets.
bool supports(const ConvolutionShape& shape);

/// One layer. Immutable and thread-safe; all memory of a pass is the workspace's or the caller's.
/// The bits of a sample's output and input gradient depend on that sample and the weights alone,
/// those of the weight and bias gradients on the batch and its order: not on the number of threads,
/// on the samples beside it, or on the instruction set.
class FusedConvolution {
 public:
  /// Throws Error{kUsage} for a shape that supports() refuses, and for a set this CPU lacks.
  FusedConvolution(const ConvolutionShape& shape, InstructionSet set);

  const ConvolutionShape& shape() const { return shape_; }
  bool gives_input_gradient() const { return shape_.in_channels >= 8; }
  int out_height() const { return shape_.pool ? shape_.height / 2 : shape_.height; }
  int out_width() const { return shape_.pool ? shape_.width / 2 : shape_.width; }
  /// Of one sample: see forward.
  std::int64_t route_bytes() const;

  /// What a forward pass reads.
  struct Layer {
    const float* weight = nullptr;  ///< [out][in][kernel][kernel]
    const float* bias = nullptr;    ///< [out]
    /// Only with pooling: dropout of the output, whose elements are multiplied by `scale` where the
    /// byte here is 1, and zero where it is 0. Like the routes of pooling; null: none.
    const std::uint8_t* keep = nullptr;
    float scale = 1;  ///< > 0; counts with `keep` alone
  };

  /// batch >= 0 images: input [batch][height][width][in] -> output
  /// [batch][out_height][out_width][out] (planar: [batch][out][out_height][out_width]), and
  /// routes [batch][route_bytes()], by which a gradient goes back through pooling and ReLU. With
  /// pooling they are [out_height][out_width][out]: which of its window's pixels (0 to 3, by rows,
  /// the first of equals) an output is, or 4 where it is not positive or was dropped. Without, they
  /// are [height][width][out / 8]: bit o % 8 of byte o / 8 is 1 where output o is positive or NaN;
  /// null where no backward pass follows. Arrays need no alignment and must not overlap.
  void forward(std::int64_t batch, const float* input, const Layer& layer, float* output,
               std::uint8_t* routes, Workspace& workspace, Executor& executor) const;

  /// What a backward pass takes from the forward pass and from what follows the layer.
  struct Gradient {
    const float* output_gradient = nullptr;  ///< like output
    const std::uint8_t* routes = nullptr;    ///< the forward pass's
    float scale = 1;                         ///< the forward pass's where it had `keep`, else 1
  };
  /// What it fills, overwriting what was there.
  struct Result {
    float* input = nullptr;   ///< gradient like input; null: not wanted
    float* weight = nullptr;  ///< gradient like weight
    float* bias = nullptr;    ///< gradient like bias
  };

  /// Throws Error{kUsage} when an input gradient is asked for and gives_input_gradient() is false.
  void backward(std::int64_t batch, const float* input, const float* weight,
                const Gradient& gradient, const Result& result, Workspace& workspace,
                Executor& executor) const;

 private:
  friend class ConvolutionTestAccess;
  FusedConvolution(const ConvolutionShape& shape, const kernels::KernelTable& table);

  kernels::Geometry geometry() const;

  ConvolutionShape shape_;
  const kernels::KernelTable* table_;
};

}  // namespace lockstep
