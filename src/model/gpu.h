// What this module asks of CUDA: cuda_gpu.cpp, or no_cuda_gpu.cpp in a build without it.
#pragma once

#include <string>

namespace lockstep::gpu {

/// Makes `index` LibTorch's and CUDA's current device of this thread, and a stream of LibTorch's
/// pool its current one: on the default stream nothing can be recorded. Throws Error{kUsage} in a
/// build without CUDA.
void select(int index);
/// What the bits of a GPU's results depend on: its name, compute capability, and the libraries.
std::string identity(int index);
/// The cudaStream_t LibTorch uses on the current device; null without CUDA.
void* current_stream();

}  // namespace lockstep::gpu
