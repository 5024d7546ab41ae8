// What a training computes with: a module, and how it is called.
#pragma once

#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>

#include <concepts>
#include <functional>
#include <memory>
#include <type_traits>
#include <utility>

#include "lockstep/model/step_context.h"

namespace torch::nn {
class SequentialImpl;
}

namespace lockstep {

/// Any torch::nn::Module together with its forward. Keeps the module alive; copies share it. Not
/// thread-safe: one forward at a time.
class Model {
 public:
  /// inputs [B, ...] on the module's device -> outputs [B, ...].
  using Forward = std::function<at::Tensor(const at::Tensor& inputs, const StepContext& context)>;

  Model(std::shared_ptr<torch::nn::Module> module, Forward forward)
      : module_(std::move(module)), forward_(std::move(forward)) {}

  /// A module that has a member forward(inputs, context) or, if not, forward(inputs).
  template <std::derived_from<torch::nn::Module> M>
  Model(std::shared_ptr<M> module)  // NOLINT(google-explicit-constructor)
      : module_(module), forward_(forward_of(module.get())) {}
  /// The same in the holder that TORCH_MODULE defines: torch::nn::Sequential and its like.
  template <typename M>
  Model(const torch::nn::ModuleHolder<M>& holder)  // NOLINT(google-explicit-constructor)
      : Model(holder.ptr()) {}

  const std::shared_ptr<torch::nn::Module>& module() const { return module_; }
  at::Tensor forward(const at::Tensor& inputs, const StepContext& context) const {
    return forward_(inputs, context);
  }

 private:
  // The module outlives the function: both are this object's.
  template <typename M>
  static Forward forward_of(M* module) {
    return [module](const at::Tensor& inputs, const StepContext& context) -> at::Tensor {
      // Sequential's forward can be called with anything, and refuses it when it is.
      if constexpr (!std::derived_from<M, torch::nn::SequentialImpl> &&
                    requires { module->forward(inputs, context); }) {
        return module->forward(inputs, context);
      } else {
        return module->forward(inputs);
      }
    };
  }

  std::shared_ptr<torch::nn::Module> module_;
  Forward forward_;
};

/// Model(std::make_shared<M>(arguments...)).
template <std::derived_from<torch::nn::Module> M, typename... Arguments>
Model make_model(Arguments&&... arguments) {
  return Model(std::make_shared<M>(std::forward<Arguments>(arguments)...));
}

}  // namespace lockstep
