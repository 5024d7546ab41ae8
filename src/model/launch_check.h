// For CUDA sources of this module.
#pragma once

#include <cuda_runtime.h>

#include "lockstep/base/error.h"

namespace lockstep {

/// Throws Error{kUnavailable} when the launch before it has failed.
inline void check_launch(const char* what) {
  const cudaError_t status = cudaGetLastError();
  if (status == cudaSuccess) return;
  fail(ExitCode::kUnavailable, "{}: {}", what, cudaGetErrorString(status));
}

}  // namespace lockstep
