// The device a rank computes on, and the process-wide numerical settings of LibTorch.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include <optional>
#include <span>
#include <string>

#include "lockstep/model/options.h"

namespace lockstep {

/// Where this rank computes. `stream` is the cudaStream_t its kernels run on, null on a CPU.
struct ComputeDevice {
  at::Device device{at::kCPU};
  void* stream = nullptr;
  bool is_cuda() const { return device.is_cuda(); }
};

/// Sets threads (options.threads, or the cores of this process shared by the `local_size` ranks of
/// its host), and makes LibTorch deterministic: no TF32, deterministic algorithms, denormals
/// flushed to zero (as RMSprop's state decays, they would make its pass many times slower). `gpu`
/// is the index of this rank's GPU, which comm's select_device has chosen; without one the rank
/// computes on the CPU. On a GPU, LibTorch's current stream of the calling thread becomes one that
/// is not the default stream, and not ordered with it: other threads, and CUDA code of one's own,
/// have to order their work with `stream` themselves. Call once, before any other use of LibTorch,
/// in the thread that trains. Throws Error{kUsage} for a GPU
/// in a build without CUDA.
ComputeDevice prepare_compute_device(const ModelOptions& options, int local_size,
                                     std::optional<int> gpu);

/// Throws Error{kInternal} unless the device's stream is LibTorch's current one of this thread.
void require_current_stream(const ComputeDevice& device);

/// Cores this process may run on.
int available_cores();

/// What, besides the settings, the bits of a result depend on: "cpu AVX512 threads=1 torch=2.11.0",
/// with "convolutions=fast" where a network has them, or the GPU's name and the versions of CUDA
/// and cuDNN, with "convolutions=fused".
std::string numerical_identity(const ComputeDevice& device, const ModelOptions& options);

/// The identities of several ranks as one: "cpu AVX512+AVX2 threads=1 torch=2.11.0" where they
/// differ in one word, all that are different joined by " + " where they have unlike numbers of
/// words.
std::string joint_identity(std::span<const std::string> identities);

}  // namespace lockstep
