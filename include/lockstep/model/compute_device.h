// The device a rank computes on, and the process-wide numerical settings of LibTorch.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include <string>

#include "lockstep/model/options.h"

namespace lockstep {

/// Where this rank computes. `stream` is the cudaStream_t its kernels run on, null on a CPU.
struct ComputeDevice {
  at::Device device{at::kCPU};
  void* stream = nullptr;
  bool is_cuda() const { return device.is_cuda(); }
};

/// Resolves auto, chooses this rank's GPU before any context is made, sets threads, and makes LibTorch
/// deterministic: no TF32, deterministic algorithms, denormals flushed to zero (as RMSprop's state
/// decays, they would make its pass many times slower). Call once, before any other use of LibTorch.
/// Throws Error{kUsage} when a device is asked for that this build or machine does not have, or two
/// ranks would share one GPU.
ComputeDevice prepare_compute_device(const ModelOptions& options, int local_rank, int local_size);

/// Cores this process may run on.
int available_cores();

/// What, besides the settings, the bits of a result depend on: "cpu AVX512 threads=1 torch=2.11.0".
std::string numerical_identity(const ComputeDevice& device);

}  // namespace lockstep
