// In which order a convolution's images lie in memory.
#pragma once

#include <ATen/core/Tensor.h>

namespace lockstep {

/// What is fastest in float32: channels last on CPUs, where max-pooling gains most; channels first
/// on GPUs, whose channels-last convolutions are made for half precision and TF32.
inline at::MemoryFormat convolution_format(const at::Tensor& x) {
  return x.is_cuda() ? at::MemoryFormat::Contiguous : at::MemoryFormat::ChannelsLast;
}

}  // namespace lockstep
