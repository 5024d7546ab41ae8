// Convolution, bias, ReLU, pooling and dropout as one operator on CPUs (module kernels), with its
// gradient, and all behind cuDNN's convolution as one on GPUs; elsewhere LibTorch's operators.
#pragma once

#include <torch/nn/modules/conv.h>

#include <cstdint>
#include <string>
#include <utility>

#include "lockstep/base/instruction_set.h"
#include "lockstep/kernels/workspace.h"
#include "lockstep/model/network.h"
#include "model/dropout_mask.h"

namespace lockstep {

/// A layer with stride 1 whose padding keeps an image's size: what the kernels take.
torch::nn::Conv2d same_convolution(std::int64_t in, std::int64_t out, std::int64_t kernel);

/// What computes convolutions on this CPU under a choice as in ModelOptions::convolution; kNone:
/// LibTorch.
InstructionSet convolution_set(const std::string& choice);

/// What the convolutions of a network and the graphs of its forwards share.
struct ConvolutionKernels : torch::CustomClassHolder {
  explicit ConvolutionKernels(InstructionSet instructions) : set(instructions) {}
  const InstructionSet set;  ///< kNone: LibTorch's
  Workspace workspace;
};

/// What a pooled layer gives: images, or what flatten(1) makes of them, for a dense layer.
enum class Pooled { kImages, kRows };

/// The convolutions of one network. Layers are 3x3 or 5x5 with stride 1 and "same" padding. Owns
/// the kernels' scratch memory, which graphs of its forwards keep alive: one forward or backward at
/// a time.
class Convolutions {
 public:
  /// `choice` as in ModelOptions::convolution.
  explicit Convolutions(const std::string& choice);

  /// relu(layer(x)), channels_last on a CPU. x: float32 [B,C,H,W] of any memory format.
  at::Tensor relu(torch::nn::Conv2d layer, const at::Tensor& x) const;
  /// 2x2 maxima of it: [B,C,H/2,W/2], or [B,C*H/2*W/2].
  at::Tensor relu_pool(torch::nn::Conv2d layer, const at::Tensor& x,
                       Pooled form = Pooled::kImages) const;

  /// dropout(relu_pool(layer, x), p, context, dropout_layer), the same bits without its passes over
  /// memory.
  at::Tensor relu_pool_dropout(torch::nn::Conv2d layer, const at::Tensor& x, double p,
                               const StepContext& context, std::uint8_t dropout_layer,
                               Pooled form = Pooled::kImages) const;

 private:
  bool are_fast(const torch::nn::Conv2dImpl& layer, const at::Tensor& x, bool pool) const;
  bool are_fused(const torch::nn::Conv2dImpl& layer, const at::Tensor& x, bool pool) const;
  at::Tensor apply_fast(const torch::nn::Conv2dImpl& layer, const at::Tensor& x, bool pool,
                        Pooled form, const DropoutMask& dropout) const;

  c10::intrusive_ptr<ConvolutionKernels> kernels_;
  bool direct_;
};

}  // namespace lockstep
