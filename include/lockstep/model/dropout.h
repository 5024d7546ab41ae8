// Dropout whose mask is a pure function of (seed, epoch, sample, layer, element).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "lockstep/model/step_context.h"

namespace lockstep {

/// Inverted dropout (Srivastava et al., JMLR 2014): outside training the identity; in training each
/// element is zero with probability p and multiplied by 1/(1-p) otherwise. p is rounded to a
/// multiple of 2^-16. Elements of an image count in [H,W,C] order whatever the memory format. x:
/// float32 [B, ...] with B = context.samples.size(0); `layer` tells several dropouts of one network
/// apart. The result is channels_last for four dimensions, contiguous otherwise.
at::Tensor dropout(const at::Tensor& x, double p, const StepContext& context, std::uint8_t layer);

}  // namespace lockstep
