// Gradients of parameters that the operator which computes them writes to where they belong,
// instead of handing autograd a tensor to add to zeros.
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/csrc/autograd/function_hook.h>

namespace lockstep {

/// A hook before a parameter's gradient accumulator whose owner knows whether the parameter's
/// gradient holds anything yet.
class DirectGradient : public torch::autograd::FunctionPreHook {
 public:
  /// The gradient, whose content the caller is to overwrite at once; undefined when it holds
  /// something that another one is to be added to.
  virtual at::Tensor claim() = 0;
};

/// For the backward of an operator: the tensor that takes the gradient of `parameter`, of its shape
/// and contiguous, to be overwritten at once; autograd is then given an undefined tensor instead.
/// Undefined where the gradient has to go through autograd: no hook claims it, a hook on the
/// parameter wants to see it, or this backward is not one that accumulates (torch::autograd::grad).
at::Tensor claim_gradient(const at::Tensor& parameter);

}  // namespace lockstep
