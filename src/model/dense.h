// Dense layers whose weight's gradient is written once.
#pragma once

#include <torch/nn/modules/linear.h>

namespace lockstep {

/// layer(x) for x float32 [B, in], with the same bits forward and backward; in backward the
/// weight's gradient goes to where it belongs without a copy, where that can be
/// (gradient_owner.h).
at::Tensor dense(const torch::nn::Linear& layer, const at::Tensor& x);

/// relu(dense(layer, x)), likewise.
at::Tensor dense_relu(const torch::nn::Linear& layer, const at::Tensor& x);

}  // namespace lockstep
