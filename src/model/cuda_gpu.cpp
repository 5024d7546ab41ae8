#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAStream.h>

#include "gpu.h"

namespace lockstep::gpu {

bool built() { return true; }

int count() { return c10::cuda::device_count(); }

void select(int index) { c10::cuda::set_device(static_cast<c10::DeviceIndex>(index)); }

void* current_stream() { return c10::cuda::getCurrentCUDAStream().stream(); }

}  // namespace lockstep::gpu
