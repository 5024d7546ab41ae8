// Clipping of a gradient by its norm (Pascanu, Mikolov and Bengio, "On the difficulty of training
// recurrent neural networks", ICML 2013):
//
//   norm = sqrt(sum of g^2 over all elements);   where norm > limit:  g *= limit / norm
//
// as torch.nn.utils.clip_grad_norm_ does, but without the 1e-6 that it adds to the norm. Squares
// and their sum are double precision, and the sum has one order: the norm has the same bits on
// every instruction set, and on host and device. The factor is rounded to float32, and each product
// too.
#pragma once

#include <cstddef>

namespace lockstep {

/// The norm of n finite values; 0 of none. Allocates nothing. Thread-safe.
double l2_norm(const float* values, std::size_t n);
/// The same for device memory; waits for the stream (a cudaStream_t; nullptr: the default stream).
/// Throws Error{kUsage} in a build without CUDA, Error{kUnavailable} when CUDA fails.
double l2_norm_on_device(const float* values, std::size_t n, void* stream = nullptr);

/// Scales the gradient down to the limit, > 0, where its norm is greater. Returns the norm it had.
double clip_by_norm(float* gradient, std::size_t n, double limit);
/// The same for device memory: waits as l2_norm_on_device does; the scaling is queued on the
/// stream.
double clip_by_norm_on_device(float* gradient, std::size_t n, double limit, void* stream = nullptr);

}  // namespace lockstep
