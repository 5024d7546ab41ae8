// Gives a parameter's gradient away to an operator that writes it itself.
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/csrc/autograd/variable.h>

#include <memory>
#include <utility>

#include "lockstep/model/gradient_owner.h"

namespace lockstep {

/// A hook that gives its tensor away once.
class GradientGiver final : public GradientOwner {
 public:
  explicit GradientGiver(at::Tensor gradient) : gradient_(std::move(gradient)) {}
  at::Tensor claim() override { return std::exchange(gradient_, at::Tensor()); }
  torch::autograd::variable_list operator()(
      const torch::autograd::variable_list& gradients) override {
    return gradients;
  }

 private:
  at::Tensor gradient_;
};

/// Holds until what it returns, the parameter's accumulator, is gone.
inline std::shared_ptr<torch::autograd::Node> give_gradient(const at::Tensor& parameter,
                                                            const at::Tensor& gradient) {
  auto accumulator = torch::autograd::impl::grad_accumulator(parameter);
  accumulator->add_pre_hook(std::make_unique<GradientGiver>(gradient));
  return accumulator;
}

}  // namespace lockstep
