// The passes of passes.h on a CUDA device.
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>

#include "lockstep/base/error.h"
#include "optim/rules.h"

namespace lockstep {
namespace {

void check(cudaError_t status, const char* what) {
  if (status != cudaSuccess) {
    throw Error(ExitCode::kUnavailable,
                std::string("CUDA: ") + what + ": " + cudaGetErrorString(status));
  }
}

constexpr unsigned kThreads = 256;

unsigned blocks_for(std::size_t n) {
  // Every thread takes several elements of a large buffer; 4096 blocks fill any device.
  return static_cast<unsigned>(std::min<std::size_t>((n + kThreads - 1) / kThreads, 4096));
}

template <class Pass>
__global__ void run_pass(std::size_t n, Pass pass) {
  const std::size_t stride = static_cast<std::size_t>(gridDim.x) * blockDim.x;
  for (std::size_t i = static_cast<std::size_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < n;
       i += stride) {
    pass(i);
  }
}

__global__ void find_non_finite(std::size_t n, const float* values, unsigned* found) {
  const std::size_t stride = static_cast<std::size_t>(gridDim.x) * blockDim.x;
  for (std::size_t i = static_cast<std::size_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < n;
       i += stride) {
    // All writers write the same value, so no atomic is needed.
    if ((__float_as_uint(values[i]) & 0x7f800000u) == 0x7f800000u) *found = 1;
  }
}

// Lets the current device's pool keep a little of what is freed: by default it would give the flag
// of all_finite_on_device back to the driver at every wait, and fetch it again at every step.
void keep_freed_memory() {
  int device = 0;
  cudaMemPool_t pool = nullptr;
  std::uint64_t bytes = 1 << 16;
  check(cudaGetDevice(&device), "find the current device");
  check(cudaDeviceGetDefaultMemPool(&pool, device), "find the memory pool");
  check(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &bytes),
        "set up the memory pool");
}

class DeviceEngine {
 public:
  class Buffer {
   public:
    explicit Buffer(std::size_t n) {
      check(cudaMalloc(&values_, n * sizeof(float)), "allocate optimizer state");
      // The default stream is ordered before every later step on a stream of the caller only after
      // this wait.
      const cudaError_t status = cudaMemset(values_, 0, n * sizeof(float));
      const cudaError_t waited = cudaStreamSynchronize(nullptr);
      if (status != cudaSuccess || waited != cudaSuccess) {
        cudaFree(values_);
        check(status, "clear optimizer state");
        check(waited, "clear optimizer state");
      }
    }
    ~Buffer() { cudaFree(values_); }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    float* get() { return values_; }

   private:
    float* values_ = nullptr;
  };

  explicit DeviceEngine(void* stream) : stream_(static_cast<cudaStream_t>(stream)) {}

  template <class Pass>
  void run(std::size_t n, const Pass& pass) const {
    if (n == 0) return;
    run_pass<<<blocks_for(n), kThreads, 0, stream_>>>(n, pass);
    check(cudaGetLastError(), "launch an optimizer step");
  }

 private:
  cudaStream_t stream_;
};

}  // namespace

std::unique_ptr<Optimizer> make_device_optimizer(const OptimizerOptions& options, std::size_t n,
                                                 void* stream) {
  return optim::make_with(options, n, DeviceEngine(stream));
}

bool all_finite_on_device(const float* values, std::size_t n, void* stream) {
  if (n == 0) return true;
  const auto queue = static_cast<cudaStream_t>(stream);
  unsigned* found = nullptr;
  keep_freed_memory();
  check(cudaMallocAsync(&found, sizeof(unsigned), queue), "allocate a flag");
  unsigned result = 0;
  cudaError_t status = cudaMemsetAsync(found, 0, sizeof(unsigned), queue);
  if (status == cudaSuccess) {
    find_non_finite<<<blocks_for(n), kThreads, 0, queue>>>(n, values, found);
    status = cudaGetLastError();
  }
  if (status == cudaSuccess) {
    status = cudaMemcpyAsync(&result, found, sizeof(unsigned), cudaMemcpyDeviceToHost, queue);
  }
  const cudaError_t freed = cudaFreeAsync(found, queue);
  const cudaError_t waited = cudaStreamSynchronize(queue);
  check(status, "look for non-finite values");
  check(freed, "free a flag");
  check(waited, "look for non-finite values");
  return result == 0;
}

void update_average_on_device(float* average, const float* weights, std::size_t n, double decay,
                              void* stream) {
  DeviceEngine(stream).run(n, optim::AveragePass{optim::to_float(1 - decay), average, weights});
}

}  // namespace lockstep
