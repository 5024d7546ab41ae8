#include "lockstep/model/flat_parameters.h"

#include <ATen/ops/from_blob.h>
#include <ATen/ops/zeros.h>

#include <utility>

#include "lockstep/base/error.h"

namespace lockstep {

namespace {

constexpr std::int64_t kAlignment = 64 / sizeof(float);

std::shared_ptr<torch::nn::Module> moved(std::shared_ptr<torch::nn::Module> module,
                                         at::Device device) {
  module->to(device);
  return module;
}

}  // namespace

FlatParameters::FlatParameters(std::shared_ptr<torch::nn::Module> module, at::Device device)
    : module_(moved(std::move(module), device)), buffers_(*module_) {
  const auto named = module_->named_parameters().pairs();
  for (auto item = named.rbegin(); item != named.rend(); ++item) {
    const auto& [name, parameter] = *item;
    if (parameter.scalar_type() != at::kFloat || parameter.layout() != at::kStrided) {
      fail(ExitCode::kUsage, "parameter {} is not dense float32", name);
    }
    if (!parameter.requires_grad()) {
      fail(ExitCode::kUsage, "parameter {} needs no gradient: register it as a buffer", name);
    }
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      if (!parameters_[i].is_same(parameter)) continue;
      fail(ExitCode::kUsage, "parameters {} and {} are one tensor: register it once", name,
           views_[i].name);
    }
    View view{.name = name,
              .shape = parameter.sizes().vec(),
              .offset = size_,
              .count = parameter.numel()};
    view.padded = (view.count + kAlignment - 1) / kAlignment * kAlignment;
    size_ += view.padded;
    views_.push_back(std::move(view));
    parameters_.push_back(parameter);
  }
  const auto options = at::TensorOptions(at::kFloat).device(device);
  weights_ = at::zeros({size_}, options);
  const at::NoGradGuard no_grad;
  for (std::size_t i = 0; i < views_.size(); ++i) {
    const View& view = views_[i];
    at::Tensor weights = weights_.narrow(0, view.offset, view.count).view(view.shape);
    weights.copy_(parameters_[i]);
    parameters_[i].set_data(weights);
  }
  use_gradients(at::zeros({size_ + kControlWords + buffers_.change_count()}, options));
}

void FlatParameters::use_gradients(at::Tensor gradients) {
  gradients_ = std::move(gradients);
  gradient_views_.clear();
  for (std::size_t i = 0; i < views_.size(); ++i) {
    const View& view = views_[i];
    gradient_views_.push_back(gradients_.narrow(0, view.offset, view.count).view(view.shape));
    parameters_[i].mutable_grad() = gradient_views_.back();
  }
}

void FlatParameters::place_gradients(std::shared_ptr<std::byte> memory) {
  LOCKSTEP_CHECK(gradients_.is_cpu(), "gradients on a device are not moved to host memory");
  const at::NoGradGuard no_grad;
  std::byte* const data = memory.get();
  use_gradients(
      at::from_blob(
          data, gradients_.sizes(), [memory = std::move(memory)](void*) {}, gradients_.options())
          .copy_(gradients_));
}

std::int64_t FlatParameters::parameter_count() const {
  std::int64_t count = 0;
  for (const View& view : views_) count += view.count;
  return count;
}

void FlatParameters::zero_gradients() { gradients_.zero_(); }

void FlatParameters::check_gradient_views() const {
  for (std::size_t i = 0; i < views_.size(); ++i) {
    const at::Tensor& gradient = parameters_[i].grad();
    LOCKSTEP_CHECK(gradient.defined() && gradient.data_ptr() == gradient_views_[i].data_ptr() &&
                       gradient.strides() == gradient_views_[i].strides(),
                   "the gradient of {} left the flat buffer", views_[i].name);
  }
}

}  // namespace lockstep
