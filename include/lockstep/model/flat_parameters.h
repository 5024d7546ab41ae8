// All parameters and all gradients of a network as two contiguous buffers.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "lockstep/model/network.h"

namespace lockstep {

/// Moves a network's parameters into one flat float32 buffer, and gives each a gradient that is a
/// view of a second one. Views lie in reverse order of registration, so that backward fills the
/// gradient buffer roughly from its front; each starts on 64 bytes, and the gaps are zero and stay
/// zero. The gradient buffer ends with kControlWords floats that travel with the last bucket. Keeps
/// the network alive; move-only.
class FlatParameters {
 public:
  static constexpr std::int64_t kControlWords = 16;

  struct View {
    std::string name;                 ///< PyTorch's: "conv1.weight"
    std::vector<std::int64_t> shape;  ///< logical, contiguous
    std::int64_t offset = 0;          ///< in floats, from the buffer's start
    std::int64_t count = 0;           ///< floats without padding
    std::int64_t padded = 0;          ///< floats with padding
  };

  /// Throws Error{kUsage} for parameters that are not dense float32.
  FlatParameters(std::shared_ptr<Network> network, at::Device device);
  FlatParameters(FlatParameters&&) = default;
  FlatParameters& operator=(FlatParameters&&) = default;
  FlatParameters(const FlatParameters&) = delete;
  FlatParameters& operator=(const FlatParameters&) = delete;

  const std::vector<View>& views() const { return views_; }
  /// Floats in the weight buffer, padding included.
  std::int64_t size() const { return size_; }
  /// Parameters without padding: what a model card would print.
  std::int64_t parameter_count() const;

  const at::Tensor& weights() const { return weights_; }      ///< float32 [size()]
  const at::Tensor& gradients() const { return gradients_; }  ///< float32 [size() + kControlWords]
  at::Tensor control_words() const { return gradients_.narrow(0, size_, kControlWords); }
  /// The parameter of views()[i], for hooks.
  const at::Tensor& parameter(std::size_t i) const { return parameters_[i]; }

  /// Sets the gradient buffer and its control words to zero.
  void zero_gradients();
  /// Asserts that autograd has accumulated into the views and not replaced them.
  void check_gradient_views() const;

 private:
  std::shared_ptr<Network> network_;
  std::vector<View> views_;
  std::vector<at::Tensor> parameters_;
  std::vector<at::Tensor> gradient_views_;
  std::int64_t size_ = 0;
  at::Tensor weights_;
  at::Tensor gradients_;
};

}  // namespace lockstep
