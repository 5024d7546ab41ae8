#include "convolution_epilogue.h"

#include "lockstep/base/error.h"

namespace lockstep::epilogue {

namespace {

constexpr unsigned kThreads = 256;  // a power of two

// A block a plane.
template <class Pass>
__global__ void forward_kernel(Pass pass) {
  for (std::int64_t i = threadIdx.x; i < pass.elements(); i += blockDim.x) pass(blockIdx.x, i);
}

// All threads of a block receive the sum; halves are added to halves.
__device__ float sum_over_block(float own) {
  __shared__ float sums[kThreads];
  sums[threadIdx.x] = own;
  for (unsigned half = blockDim.x / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
  }
  __syncthreads();
  return sums[0];
}

template <class Pass>
__global__ void backward_kernel(Pass pass, float* sums) {
  float own = 0;
  for (std::int64_t i = threadIdx.x; i < pass.elements(); i += blockDim.x) {
    own += pass(blockIdx.x, i);
  }
  const float sum = sum_over_block(own);
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

// A block a channel.
__global__ void add_planes(Shape shape, const float* sums, float* bias_gradient) {
  float own = 0;
  for (std::int64_t image = threadIdx.x; image < shape.batch; image += blockDim.x) {
    own += sums[image * shape.channels + blockIdx.x];
  }
  const float sum = sum_over_block(own);
  if (threadIdx.x == 0) bias_gradient[blockIdx.x] = sum;
}

void check(const char* what) {
  const cudaError_t status = cudaGetLastError();
  if (status != cudaSuccess) {
    fail(ExitCode::kUnavailable, "{}: {}", what, cudaGetErrorString(status));
  }
}

// No more than a plane keeps busy.
unsigned threads_for(std::int64_t elements) {
  unsigned threads = 32;
  while (threads < kThreads && threads < elements) threads *= 2;
  return threads;
}

template <class Pass>
void run_forward(const Pass& pass, void* stream) {
  const auto planes = static_cast<unsigned>(pass.shape.planes());
  if (planes == 0 || pass.elements() == 0) return;
  forward_kernel<<<planes, threads_for(pass.elements()), 0, static_cast<cudaStream_t>(stream)>>>(
      pass);
  check("bias, ReLU and pooling");
}

template <class Pass>
void run_backward(const Pass& pass, float* sums, float* bias_gradient, void* stream) {
  const auto queue = static_cast<cudaStream_t>(stream);
  const Shape& shape = pass.shape;
  const auto planes = static_cast<unsigned>(shape.planes());
  if (planes > 0) {
    backward_kernel<<<planes, threads_for(pass.elements()), 0, queue>>>(pass, sums);
    check("the gradient of bias, ReLU and pooling");
  }
  add_planes<<<static_cast<unsigned>(shape.channels), threads_for(shape.batch), 0, queue>>>(
      shape, sums, bias_gradient);
  check("the gradient of a bias");
}

}  // namespace

void run(const Relu& pass, void* stream) { run_forward(pass, stream); }
void run(const ReluPool& pass, void* stream) { run_forward(pass, stream); }
void run(const ReluBackward& pass, float* sums, float* bias_gradient, void* stream) {
  run_backward(pass, sums, bias_gradient, stream);
}
void run(const ReluPoolBackward& pass, float* sums, float* bias_gradient, void* stream) {
  run_backward(pass, sums, bias_gradient, stream);
}

}  // namespace lockstep::epilogue
