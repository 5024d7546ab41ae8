// Convolution, bias, ReLU and pooling as one operator on CPUs (module kernels), with its gradient;
// elsewhere LibTorch's operators.
#pragma once

#include <torch/nn/modules/conv.h>

#include <string>
#include <utility>

#include "lockstep/kernels/instruction_set.h"
#include "lockstep/kernels/workspace.h"
#include "lockstep/model/network.h"

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

/// The convolutions of one network. Layers are 3x3 or 5x5 with stride 1 and "same" padding. Owns
/// the kernels' scratch memory, which graphs of its forwards keep alive: one forward or backward at
/// a time.
class Convolutions {
 public:
  /// `choice` as in ModelOptions::convolution.
  explicit Convolutions(const std::string& choice);

  /// relu(layer(x)), channels_last on a CPU. x: float32 [B,C,H,W] of any memory format.
  at::Tensor relu(torch::nn::Conv2d layer, const at::Tensor& x) const {
    return apply(std::move(layer), x, /*pool=*/false);
  }
  /// 2x2 maxima of it: [B,C,H/2,W/2].
  at::Tensor relu_pool(torch::nn::Conv2d layer, const at::Tensor& x) const {
    return apply(std::move(layer), x, /*pool=*/true);
  }

 private:
  at::Tensor apply(torch::nn::Conv2d layer, const at::Tensor& x, bool pool) const;

  c10::intrusive_ptr<ConvolutionKernels> kernels_;
};

}  // namespace lockstep
