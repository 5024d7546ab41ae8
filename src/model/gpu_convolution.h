// A convolution on a GPU: cuDNN's, and one pass of our own for all that follows it.
#pragma once

#include <torch/nn/modules/conv.h>

#include "model/dropout_mask.h"

namespace lockstep {

/// relu(layer(x)) as it is, or with 2x2 maxima and dropout (an undefined mask: none): [B,C,H,W] or
/// [B,C,H/2,W/2], channels first. x: float32 [B,C,H,W] on a GPU, `layer` there too, with a bias.
/// The numbers are those of LibTorch's operators one after the other, but for the order of the bias
/// gradient's sum, and for what dropout drops, which is 0 whatever it was, as on the host. Has no
/// second derivative.
at::Tensor gpu_convolution(const torch::nn::Conv2dImpl& layer, const at::Tensor& x, bool pool,
                           const DropoutMask& dropout);

}  // namespace lockstep
