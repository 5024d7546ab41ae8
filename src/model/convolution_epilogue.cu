#include "convolution_epilogue.h"

#include <algorithm>

#include "launch_check.h"

namespace lockstep::epilogue {

namespace {

constexpr unsigned kWarp = 32;
constexpr unsigned kThreads = 256;  // whole warps

// A block a plane.
template <class Pass>
__global__ void forward_kernel(Pass pass) {
  const auto plane = pass.plane(blockIdx.x);
  const int elements = pass.elements();
  for (int i = static_cast<int>(threadIdx.x); i < elements; i += static_cast<int>(blockDim.x)) {
    plane(i);
  }
}

// Of the threads of a block, in one order; the first one receives it.
__device__ float sum_over_block(float own) {
  constexpr unsigned kAll = 0xffffffffu;
  __shared__ float warps[kThreads / kWarp];
  for (unsigned half = kWarp / 2; half > 0; half /= 2) own += __shfl_down_sync(kAll, own, half);
  if (threadIdx.x % kWarp == 0) warps[threadIdx.x / kWarp] = own;
  __syncthreads();
  if (threadIdx.x != 0) return 0;
  for (unsigned warp = 1; warp < blockDim.x / kWarp; ++warp) own += warps[warp];
  return own;
}

template <class Pass>
__global__ void backward_kernel(Pass pass, float* sums) {
  const auto plane = pass.plane(blockIdx.x);
  const int elements = pass.elements();
  float own = 0;
  for (int i = static_cast<int>(threadIdx.x); i < elements; i += static_cast<int>(blockDim.x)) {
    own += plane(i);
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

// No more than a plane keeps busy.
unsigned threads_for(std::int64_t elements) {
  const std::int64_t warps = (elements + kWarp - 1) / kWarp;
  return static_cast<unsigned>(std::clamp<std::int64_t>(warps * kWarp, kWarp, kThreads));
}

template <class Pass>
void run_forward(const Pass& pass, void* stream) {
  const auto planes = static_cast<unsigned>(pass.shape.planes());
  if (planes == 0 || pass.elements() == 0) return;
  forward_kernel<<<planes, threads_for(pass.elements()), 0, static_cast<cudaStream_t>(stream)>>>(
      pass);
  check_launch("bias, ReLU and pooling");
}

template <class Pass>
void run_backward(const Pass& pass, float* sums, float* bias_gradient, void* stream) {
  const auto queue = static_cast<cudaStream_t>(stream);
  const Shape& shape = pass.shape;
  const auto planes = static_cast<unsigned>(shape.planes());
  if (planes > 0) {
    backward_kernel<<<planes, threads_for(pass.elements()), 0, queue>>>(pass, sums);
    check_launch("the gradient of bias, ReLU and pooling");
  }
  add_planes<<<static_cast<unsigned>(shape.channels), threads_for(shape.batch), 0, queue>>>(
      shape, sums, bias_gradient);
  check_launch("the gradient of a bias");
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
