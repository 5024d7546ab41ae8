// Who owns the memory of a parameter's gradient, for operators that write it there themselves.
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/csrc/autograd/function_hook.h>

namespace lockstep {

/// A hook before a parameter's gradient accumulator whose author knows whether the parameter's
/// gradient holds anything yet. Where the gradient was claimed, operator() receives an undefined
/// tensor, and passes it on. Called by backward's thread.
class GradientOwner : public torch::autograd::FunctionPreHook {
 public:
  /// The gradient, whose content the caller is to overwrite at once; undefined when it holds
  /// something that another one is to be added to.
  virtual at::Tensor claim() = 0;
};

/// For the backward of an operator: the tensor that takes the gradient of `parameter`, of its shape
/// and contiguous, to be overwritten at once; autograd is then given an undefined tensor instead.
/// Undefined where the gradient has to go through autograd: nobody gives it away, a hook on the
/// parameter or autograd's anomaly mode wants to see it, or this backward is not one that only
/// accumulates (torch::autograd::grad, a gradient that needs a graph).
at::Tensor claim_gradient(const at::Tensor& parameter);

}  // namespace lockstep
