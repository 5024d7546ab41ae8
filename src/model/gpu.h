// What this module asks of CUDA: cuda_gpu.cpp, or no_cuda_gpu.cpp in a build without it.
#pragma once

namespace lockstep::gpu {

/// Whether this build links CUDA.
bool built();
/// GPUs this process sees; 0 without CUDA or a driver. Makes no context.
int count();
/// Makes `index` LibTorch's and CUDA's current device of this thread.
void select(int index);
/// The cudaStream_t LibTorch uses on the current device; null without CUDA.
void* current_stream();

}  // namespace lockstep::gpu
