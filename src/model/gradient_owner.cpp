#include "lockstep/model/gradient_owner.h"

#include <torch/csrc/autograd/anomaly_mode.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/graph_task.h>
#include <torch/csrc/autograd/variable.h>

namespace lockstep {

at::Tensor claim_gradient(const at::Tensor& parameter) {
  namespace impl = torch::autograd::impl;
  // A gradient's gradient needs the graph.
  if (at::GradMode::is_enabled()) return {};
  // What is chosen in a backward of chosen tensors, which captures or leaves out what this would
  // write; empty where all of the graph is.
  const auto* chosen = torch::autograd::get_current_graph_task_exec_info();
  if (chosen != nullptr && !chosen->empty()) return {};
  if (torch::autograd::AnomalyMode::is_enabled()) return {};
  if (!impl::hooks(parameter).empty() || impl::post_acc_grad_hooks(parameter) != nullptr) return {};
  const auto accumulator = impl::try_get_grad_accumulator(parameter);
  if (accumulator == nullptr) return {};
  for (const auto& hook : accumulator->pre_hooks()) {
    auto* owner = dynamic_cast<GradientOwner*>(hook.get());
    if (owner == nullptr) continue;
    if (at::Tensor gradient = owner->claim(); gradient.defined()) return gradient;
  }
  return {};
}

}  // namespace lockstep
