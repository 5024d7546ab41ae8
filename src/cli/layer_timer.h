// Where a network's time goes: each operator of its forward and backward passes, timed by
// LibTorch's own observers of operators.
#pragma once

#include <torch/nn/module.h>

#include <memory>
#include <string>
#include <vector>

#include "lockstep/model/compute_device.h"
#include "lockstep/model/model.h"

namespace lockstep {

/// What belongs to one layer, or to all operators of one kind that have no parameters.
struct LayerTime {
  std::string layer;         ///< "conv1": of its first parameter; empty: none has any
  std::string operators;     ///< "conv2d", "lockstep::dense", "relu_", ...
  double forward = 0;        ///< seconds
  double backward = 0;       ///< seconds, without what adds gradients to others
  double forward_flop = 0;   ///< floating-point operations of the direct algorithm
  double backward_flop = 0;  ///< the same
  /// Whether it is a convolution or a product with a weight, whose operations are known: two a
  /// multiply-add, the backward pass once as many for the weights, and for the input where it has a
  /// gradient.
  bool is_counted() const { return forward_flop > 0; }
};

/// Watches the training passes of one module. Operators that the module's forward calls are one row
/// each kind, with all that they call in turn; a function that is no operator (a custom
/// autograd function) is seen where it announces itself with RECORD_FUNCTION, as those of lockstep
/// do; without, what it calls is seen. Its time and the loss's are what the rows leave of the pass.
/// One at a time in a process; not thread-safe.
class LayerTimer {
 public:
  /// On a GPU, each operator is waited for: times add up, but operators no longer overlap.
  explicit LayerTimer(const ComputeDevice& device);
  ~LayerTimer();
  LayerTimer(const LayerTimer&) = delete;
  LayerTimer& operator=(const LayerTimer&) = delete;

  /// The same model, seen. The result must not be called after this object's end.
  Model watch(const Model& model);
  /// From now on passes count; before, and after stop(), they are not slowed down.
  void start();
  void stop();
  /// In the order of the forward pass; sums over all passes that counted.
  std::vector<LayerTime> times() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace lockstep
