// A host tensor as bytes for the control plane.
#pragma once

#include <ATen/core/Tensor.h>

#include <span>

#include "lockstep/base/cast.h"

namespace lockstep {

/// The memory of a contiguous float32 tensor on the host.
inline std::span<std::byte> bytes_of(at::Tensor& host) {
  return std::as_writable_bytes(
      std::span(host.mutable_data_ptr<float>(), checked_cast<std::size_t>(host.numel())));
}

}  // namespace lockstep
