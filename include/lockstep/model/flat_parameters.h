// All parameters and all gradients of a module as two contiguous buffers.
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "lockstep/model/flat_view.h"
#include "lockstep/model/module_buffers.h"

namespace lockstep {

/// Moves a module's parameters into one flat float32 buffer, and gives each a gradient that is a
/// view of a second one. Views lie in reverse order of registration, so that backward fills the
/// gradient buffer roughly from its front; each starts on 64 bytes, and the gaps are zero and stay
/// zero. The gradient buffer ends with what travels with the last bucket: kControlWords floats, and
/// a step's changes to the module's buffers. Keeps the module alive; move-only.
class FlatParameters {
 public:
  static constexpr std::int64_t kControlWords = 16;

  using View = FlatView;

  /// Moves the module to the device first. Throws Error{kUsage} naming a parameter that is not
  /// dense float32, needs no gradient (it would be a buffer), or is also registered under another
  /// name; or a buffer as ModuleBuffers does.
  FlatParameters(std::shared_ptr<torch::nn::Module> module, at::Device device);
  FlatParameters(FlatParameters&&) = default;
  FlatParameters& operator=(FlatParameters&&) = default;
  FlatParameters(const FlatParameters&) = delete;
  FlatParameters& operator=(const FlatParameters&) = delete;

  const std::vector<View>& views() const { return views_; }
  /// Floats in the weight buffer, padding included.
  std::int64_t size() const { return size_; }
  /// Parameters without padding: what a model card would print.
  std::int64_t parameter_count() const;

  const at::Tensor& weights() const { return weights_; }  ///< float32 [size()]
  /// float32 [size() + kControlWords + buffers().change_count()]; a GradientReducer defers zeroing
  /// it
  const at::Tensor& gradients() const { return gradients_; }
  at::Tensor control_words() const { return gradients_.narrow(0, size_, kControlWords); }
  ModuleBuffers& buffers() { return buffers_; }
  const ModuleBuffers& buffers() const { return buffers_; }
  at::Tensor buffer_changes() const {
    return gradients_.narrow(0, size_ + kControlWords, buffers_.change_count());
  }
  /// The parameter of views()[i], for hooks.
  const at::Tensor& parameter(std::size_t i) const { return parameters_[i]; }

  /// Moves the gradients to this memory: of gradients().nbytes() bytes, aligned to 64, which it
  /// keeps alive. Only of parameters on the CPU.
  void place_gradients(std::shared_ptr<std::byte> memory);
  /// Sets the whole gradient buffer to zero.
  void zero_gradients();
  /// Asserts that autograd has accumulated into the views and not replaced them.
  void check_gradient_views() const;

 private:
  void use_gradients(at::Tensor gradients);

  std::shared_ptr<torch::nn::Module> module_;
  ModuleBuffers buffers_;
  std::vector<View> views_;
  std::vector<at::Tensor> parameters_;
  std::vector<at::Tensor> gradient_views_;
  std::int64_t size_ = 0;
  at::Tensor weights_;
  at::Tensor gradients_;
};

}  // namespace lockstep
