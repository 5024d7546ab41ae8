// Cross-entropy of logits and class indices.
#pragma once

#include <ATen/core/Tensor.h>

namespace lockstep {

/// Sum over the batch of the categorical cross-entropy of softmax(logits) [B,K] with labels int64
/// [B], each smoothed to (1 - smoothing) one-hot + smoothing / K (Szegedy et al., CVPR 2016).
/// float32 scalar.
at::Tensor cross_entropy_sum(const at::Tensor& logits, const at::Tensor& labels, double smoothing);

}  // namespace lockstep
