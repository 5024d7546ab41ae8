#include "lockstep/model/module_buffers.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include "lockstep/base/cast.h"
#include "lockstep/base/error.h"

namespace lockstep {

namespace {

constexpr std::int64_t kAlignment = 64;  // bytes
constexpr double kExactInFloat = 1 << 24;

bool is_whole(at::ScalarType type) {
  return type == at::kLong || type == at::kInt || type == at::kByte || type == at::kBool;
}

}  // namespace

ModuleBuffers::ModuleBuffers(const torch::nn::Module& module) {
  const at::NoGradGuard no_grad;
  std::int64_t bytes = 0;
  at::Device device(at::kCPU);
  for (const auto& item : module.named_buffers()) {
    const at::Tensor& own = item.value();
    if (!own.defined()) continue;
    if ((own.scalar_type() != at::kFloat && !is_whole(own.scalar_type())) || !own.is_contiguous()) {
      fail(ExitCode::kUsage,
           "buffer {} is {}{}: expected contiguous float32, int64, int32, uint8 or bool",
           item.key(), at::toString(own.scalar_type()),
           own.is_contiguous() ? "" : ", not contiguous");
    }
    const std::int64_t size = checked_cast<std::int64_t>(own.nbytes());
    const std::int64_t padded = (size + kAlignment - 1) / kAlignment * kAlignment;
    views_.push_back({.name = item.key(),
                      .shape = own.sizes().vec(),
                      .offset = bytes / std::int64_t{sizeof(float)},
                      .count = (size + 3) / std::int64_t{sizeof(float)},
                      .padded = padded / std::int64_t{sizeof(float)},
                      .type = own.scalar_type()});
    buffers_.push_back({.own = own, .value = {}, .change = change_count_});
    bytes += padded;
    change_count_ += own.numel();
    device = own.device();
  }
  const at::Tensor storage = at::zeros({bytes}, at::TensorOptions(at::kByte).device(device));
  values_ = storage.view(at::kFloat);
  for (std::size_t i = 0; i < buffers_.size(); ++i) {
    Buffer& buffer = buffers_[i];
    buffer.value = storage
                       .narrow(0, views_[i].offset * std::int64_t{sizeof(float)},
                               checked_cast<std::int64_t>(buffer.own.nbytes()))
                       .view(buffer.own.scalar_type())
                       .view(buffer.own.sizes());
    buffer.value.copy_(buffer.own);
  }
}

at::Tensor ModuleBuffers::part_of(const at::Tensor& changes, const Buffer& buffer) const {
  return changes.narrow(0, buffer.change, buffer.own.numel()).view(buffer.own.sizes());
}

void ModuleBuffers::take_changes(const at::Tensor& changes, double share, bool first) const {
  const at::NoGradGuard no_grad;
  for (const Buffer& buffer : buffers_) {
    at::Tensor part = part_of(changes, buffer);
    if (!is_whole(buffer.own.scalar_type())) {
      // By bits: a constant may be an infinity, whose difference from itself is no number.
      const at::Tensor changed = buffer.own.view(at::kInt).ne(buffer.value.view(at::kInt));
      part.add_(at::where(changed, buffer.own - buffer.value, at::zeros_like(buffer.own)), share);
    } else if (first) {
      part.add_((buffer.own.to(at::kLong) - buffer.value.to(at::kLong)).to(at::kFloat));
    }
  }
}

void ModuleBuffers::apply(const at::Tensor& changes) {
  const at::NoGradGuard no_grad;
  for (std::size_t i = 0; i < buffers_.size(); ++i) {
    Buffer& buffer = buffers_[i];
    const at::Tensor part = part_of(changes, buffer);
    if (is_whole(buffer.own.scalar_type())) {
      if (part.numel() > 0 && part.abs().max().item<double>() >= kExactInFloat) {
        fail(ExitCode::kUsage, "buffer {} changed by 2^24 or more in one step", views_[i].name);
      }
      buffer.value.copy_(buffer.value.to(at::kLong) + part.to(at::kLong));
    } else {
      // What is not changed keeps its bits: -0.0 + 0.0 is 0.0.
      buffer.value.copy_(at::where(part.ne(0), buffer.value + part, buffer.value));
    }
  }
  restore();
}

void ModuleBuffers::restore() const {
  const at::NoGradGuard no_grad;
  for (const Buffer& buffer : buffers_) buffer.own.copy_(buffer.value);
}

std::vector<ModuleBuffers::Named> ModuleBuffers::named() const {
  std::vector<Named> all;
  for (std::size_t i = 0; i < buffers_.size(); ++i) {
    all.push_back({views_[i].name, buffers_[i].value});
  }
  return all;
}

}  // namespace lockstep
