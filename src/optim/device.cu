// The passes of passes.h on a CUDA device.
#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "lockstep/base/error.h"
#include "lockstep/optim/clipping.h"
#include "lockstep/optim/device_inspection.h"
#include "optim/rules.h"
#include "optim/square_sum.h"

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

// A block a chunk, a thread a lane.
__global__ void add_squares(std::size_t n, const float* values, double* sums) {
  __shared__ double lanes[optim::kLanes];
  const std::size_t first = static_cast<std::size_t>(blockIdx.x) * optim::kChunk;
  const std::size_t end = n - first < optim::kChunk ? n : first + optim::kChunk;
  double sum = 0;
  for (std::size_t i = first + threadIdx.x; i < end; i += optim::kLanes) {
    const double value = values[i];
    sum += value * value;
  }
  lanes[threadIdx.x] = sum;
  for (std::size_t half = optim::kLanes / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) lanes[threadIdx.x] += lanes[threadIdx.x + half];
  }
  if (threadIdx.x == 0) sums[blockIdx.x] = lanes[0];
}

// Lets the current device's pool keep a little of what is freed: by default it would give the sums
// of l2_norm_on_device back to the driver at every wait, and fetch them again at every step.
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

struct DeviceInspection::Memory {
  std::size_t words = 0;
  cudaStream_t stream = nullptr;
  unsigned* found = nullptr;  // on the device
  float* on_host = nullptr;   // the words, and what was found behind them
  ~Memory() {
    cudaFree(found);
    cudaFreeHost(on_host);
  }
};

DeviceInspection::DeviceInspection(std::size_t words, void* stream)
    : memory_(std::make_unique<Memory>()) {
  memory_->words = words;
  memory_->stream = static_cast<cudaStream_t>(stream);
  check(cudaMalloc(&memory_->found, sizeof(unsigned)), "allocate a flag");
  check(cudaMallocHost(&memory_->on_host, (words + 1) * sizeof(float)), "allocate pinned memory");
}

DeviceInspection::~DeviceInspection() = default;

void DeviceInspection::queue(const float* values, std::size_t n, const float* words) {
  const Memory& own = *memory_;
  check(cudaMemsetAsync(own.found, 0, sizeof(unsigned), own.stream), "clear a flag");
  if (n > 0) find_non_finite<<<blocks_for(n), kThreads, 0, own.stream>>>(n, values, own.found);
  check(cudaGetLastError(), "look for non-finite values");
  if (own.words > 0) {
    check(cudaMemcpyAsync(own.on_host, words, own.words * sizeof(float), cudaMemcpyDeviceToHost,
                          own.stream),
          "copy words to the host");
  }
  check(cudaMemcpyAsync(own.on_host + own.words, own.found, sizeof(unsigned),
                        cudaMemcpyDeviceToHost, own.stream),
        "copy a flag to the host");
}

DeviceInspection::Result DeviceInspection::wait() {
  const Memory& own = *memory_;
  check(cudaStreamSynchronize(own.stream), "look for non-finite values");
  unsigned found = 0;
  std::memcpy(&found, own.on_host + own.words, sizeof(found));
  return {found == 0, own.on_host};
}

bool all_finite_on_device(const float* values, std::size_t n, void* stream) {
  if (n == 0) return true;
  DeviceInspection inspection(/*words=*/0, stream);
  inspection.queue(values, n, /*words=*/nullptr);
  return inspection.wait().finite;
}

double l2_norm_on_device(const float* values, std::size_t n, void* stream) {
  if (n == 0) return 0;
  const auto queue = static_cast<cudaStream_t>(stream);
  std::vector<double> sums(optim::chunks_in(n));
  const std::size_t bytes = sums.size() * sizeof(double);
  double* on_device = nullptr;
  keep_freed_memory();
  check(cudaMallocAsync(&on_device, bytes, queue), "allocate sums");
  add_squares<<<static_cast<unsigned>(sums.size()), static_cast<unsigned>(optim::kLanes), 0,
                queue>>>(n, values, on_device);
  cudaError_t status = cudaGetLastError();
  if (status == cudaSuccess) {
    status = cudaMemcpyAsync(sums.data(), on_device, bytes, cudaMemcpyDeviceToHost, queue);
  }
  const cudaError_t freed = cudaFreeAsync(on_device, queue);
  const cudaError_t waited = cudaStreamSynchronize(queue);
  check(status, "sum the squares of a gradient");
  check(freed, "free sums");
  check(waited, "sum the squares of a gradient");
  double sum = 0;
  for (const double one : sums) sum += one;
  return std::sqrt(sum);
}

double clip_by_norm_on_device(float* gradient, std::size_t n, double limit, void* stream) {
  const double norm = l2_norm_on_device(gradient, n, stream);
  if (norm > limit) {
    DeviceEngine(stream).run(n, optim::ScalePass{optim::to_float(limit / norm), gradient});
  }
  return norm;
}

void update_average_on_device(float* average, const float* weights, std::size_t n, double decay,
                              void* stream) {
  DeviceEngine(stream).run(n, optim::AveragePass{optim::to_float(1 - decay), average, weights});
}

}  // namespace lockstep
