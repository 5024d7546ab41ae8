#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime.h>
#include <fmt/core.h>

#include "gpu.h"

namespace lockstep::gpu {

void select(int index) {
  const auto device = static_cast<c10::DeviceIndex>(index);
  c10::cuda::set_device(device);
  c10::cuda::setCurrentCUDAStream(c10::cuda::getStreamFromPool(/*isHighPriority=*/false, device));
}

std::string identity(int index) {
  cudaDeviceProp properties{};
  C10_CUDA_CHECK(cudaGetDeviceProperties(&properties, index));
  const at::CUDAHooksInterface& hooks = at::detail::getCUDAHooks();
  return fmt::format("{} ({}.{}) CUDA={} cuDNN={}", properties.name, properties.major,
                     properties.minor, hooks.versionCUDART(), hooks.versionCuDNN());
}

void* current_stream() { return c10::cuda::getCurrentCUDAStream().stream(); }

}  // namespace lockstep::gpu
