// Optimizers on flat float32 buffers: one fused pass over weights, gradients and state per step.
//
// g gradient, w weight, l learning rate, everything float32, every product and sum rounded by
// itself, so that the result has the same bits on every instruction set, and on host and device:
//   rmsprop  g += decay w;  v = rho v + (1 - rho) g^2;  u = g / (sqrt(v) + epsilon)
//            (Tieleman and Hinton, lecture 6.5, 2012; epsilon outside the root as in Keras 2)
//            momentum 0:  w -= l u         else  b = momentum b + u;  w -= l b
//   sgd      g += decay w
//            momentum 0:  w -= l g         else  b = momentum b + g;  w -= l b
//            Nesterov (Sutskever et al., ICML 2013):                  w -= l (g + momentum b)
//   adamw    w -= l decay w;  m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
//            w -= l / (1 - beta1^t) m / (sqrt(v) / sqrt(1 - beta2^t) + epsilon)
//            (Loshchilov and Hutter, ICLR 2019; t counts from 1)
// An element whose weight, gradient and state are zero stays zero: gaps between tensors may be
// padding.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace lockstep {

struct OptimizerOptions {
  /// rmsprop, sgd or adamw.
  std::string name = "rmsprop";
  /// rmsprop: decay of the average of squared gradients, [0, 1).
  double rho = 0.9;
  /// rmsprop, adamw: added to the root in the denominator, [1e-30, 1].
  double epsilon = 1e-8;
  /// rmsprop, sgd: [0, 1); 0: none, and no buffer for it.
  double momentum = 0.0;
  /// sgd: Nesterov's momentum; needs momentum > 0.
  bool nesterov = false;
  /// rmsprop, sgd: L2 penalty added to the gradient; adamw: decoupled from it. [0, 1].
  double weight_decay = 0.0;
  /// adamw: decay of the average of gradients, [0, 1).
  double beta1 = 0.9;
  /// adamw: decay of the average of squared gradients, [0, 1).
  double beta2 = 0.999;
};

/// What is wrong with the options, one sentence each, in the order of the fields; empty when
/// nothing.
std::vector<std::string> problems(const OptimizerOptions& options);

/// Owns the state of n elements. Not thread-safe; not copyable.
class Optimizer {
 public:
  virtual ~Optimizer() = default;
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  /// Updates n weights in place; allocates nothing. The buffers must not overlap. Device: queued on
  /// the stream.
  virtual void step(float* weights, const float* gradients, double learning_rate) = 0;

  /// A state buffer of n floats (device memory for a device optimizer), owned by the optimizer.
  struct State {
    std::string prefix;  ///< square_average, momentum, first_moment or second_moment
    float* values;
  };
  /// Everything a checkpoint needs besides step_count(), in a fixed order; may be empty. Zero at
  /// first.
  virtual std::vector<State> state() = 0;

  /// Steps taken so far.
  std::int64_t step_count() const { return step_count_; }
  /// Restores a count, >= 0.
  void set_step_count(std::int64_t count);

 protected:
  Optimizer() = default;
  std::int64_t step_count_ = 0;
};

/// Throws Error{kUsage} listing all problems(options).
std::unique_ptr<Optimizer> make_optimizer(const OptimizerOptions& options, std::size_t n);

/// The same on the current CUDA device; `stream` is a cudaStream_t (nullptr: the default stream),
/// not owned. Throws Error{kUsage} in a build without CUDA, Error{kUnavailable} when CUDA fails.
std::unique_ptr<Optimizer> make_device_optimizer(const OptimizerOptions& options, std::size_t n,
                                                 void* stream = nullptr);

/// Whether no value is infinite or NaN. Thread-safe.
bool all_finite(const float* values, std::size_t n);
/// The same for device memory; waits for the stream.
bool all_finite_on_device(const float* values, std::size_t n, void* stream = nullptr);

/// Exponential moving average: average += (1 - decay) (weights - average). Thread-safe.
void update_average(float* average, const float* weights, std::size_t n, double decay);
/// The same for device memory, queued on the stream.
void update_average_on_device(float* average, const float* weights, std::size_t n, double decay,
                              void* stream = nullptr);

}  // namespace lockstep
