// Between the two halves of the double.
#pragma once

#include <cuda_runtime.h>

#include <functional>

#include "nccl_double.h"

namespace nccl_double {

void reset_machine(Order order);
/// Appends to a stream. `step` is called until it returns true; what follows runs after that.
void enqueue(cudaStream_t stream, const void* owner, std::function<bool()> step);
/// Removes what `owner` has enqueued anywhere.
void cancel(const void* owner);

}  // namespace nccl_double
