#include "lockstep/model/dropout.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/record_function.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <span>

#include "dropout_kernel.h"
#include "gpu.h"
#include "lockstep/base/cast.h"
#include "lockstep/base/compiled_for.h"
#include "lockstep/base/error.h"
#include "lockstep/base/random.h"
#include "model/dropout_mask.h"

namespace lockstep {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// For those who watch operators: it is none of LibTorch's.
constexpr const char* kOperator = "lockstep::dropout";

// The order in which a mask's elements are numbered, on every device.
at::MemoryFormat element_order(std::size_t dimensions) {
  return dimensions == 4 ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous;
}

// The host walks x and its mask side by side; on a GPU they may lie in different orders.
at::Tensor ordered(const at::Tensor& x) {
  return x.is_cuda() ? x : x.contiguous(element_order(x.sizes().size()));
}

// Two elements a random word: the low half first.
void keep_halves(const std::uint32_t* words, std::size_t count, std::uint32_t threshold,
                 std::uint8_t* keep) {
  compiled_for(best_instruction_set(), [=]() LOCKSTEP_INLINED {
    for (std::size_t i = 0; i < count; ++i) {
      keep[2 * i] = (words[i] & 0xffffu) >= threshold;
      keep[2 * i + 1] = (words[i] >> 16) >= threshold;
    }
  });
}

void host_mask(std::uint8_t* keep, const std::int64_t* samples, std::int64_t batch,
               std::size_t per_sample, RandomKey key, std::uint32_t threshold) {
  std::array<std::uint32_t, 1024> words;
  for (std::int64_t row = 0; row < batch; ++row) {
    key.sample = static_cast<std::uint64_t>(samples[row]);
    std::uint8_t* out = keep + static_cast<std::size_t>(row) * per_sample;
    std::uint32_t block = 0;
    for (std::size_t done = 0; done < per_sample;) {
      const std::size_t count = std::min(per_sample - done, 2 * words.size());
      const auto drawn = std::span(words).first((count + 1) / 2);
      fill_random_words(key, drawn, block);
      keep_halves(drawn.data(), count / 2, threshold, out + done);
      if (count % 2 != 0) out[done + count - 1] = (drawn.back() & 0xffffu) >= threshold;
      done += count;
      block += static_cast<std::uint32_t>(words.size() / 4);
    }
  }
}

// A branch would be mispredicted every few elements; keep is 0 or 1.
void apply_mask(const float* in, const std::uint8_t* keep, float scale, float* out,
                std::int64_t count) {
  compiled_for(best_instruction_set(), [=]() LOCKSTEP_INLINED {
    for (std::int64_t i = 0; i < count; ++i) {
      const std::uint32_t all_or_none = 0u - keep[i];
      out[i] = std::bit_cast<float>(std::bit_cast<std::uint32_t>(in[i] * scale) & all_or_none);
    }
  });
}

at::Tensor masked(const at::Tensor& x, const at::Tensor& keep, float scale) {
  if (x.is_cuda()) return x.mul(keep).mul_(scale);
  at::Tensor out = at::empty_like(x);
  apply_mask(x.const_data_ptr<float>(), keep.const_data_ptr<std::uint8_t>(), scale,
             out.mutable_data_ptr<float>(), x.numel());
  return out;
}

class DropoutFunction : public torch::autograd::Function<DropoutFunction> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& input,
                            const at::Tensor& keep, double scale) {
    context->save_for_backward({keep});
    context->saved_data["scale"] = scale;
    return masked(input, keep, static_cast<float>(scale));
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const at::Tensor keep = context->get_saved_variables()[0];
    const auto scale = static_cast<float>(context->saved_data["scale"].toDouble());
    return {masked(ordered(gradients[0]), keep, scale), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

DropoutMask draw_dropout_mask(at::IntArrayRef sizes, double p, const StepContext& context,
                              std::uint8_t layer) {
  const std::int64_t batch = sizes[0];
  LOCKSTEP_CHECK(p >= 0.0 && p < 1.0, "dropout with probability {}", p);
  LOCKSTEP_CHECK(context.samples.defined() && context.samples.size(0) == batch,
                 "dropout needs the sample keys of its batch of {}", batch);
  RECORD_FUNCTION(kOperator, std::vector<c10::IValue>());
  const auto threshold = static_cast<std::uint32_t>(std::lround(p * 65536.0));
  const at::Tensor keep =
      at::empty(sizes, context.samples.options().dtype(at::kByte), element_order(sizes.size()));
  const std::int64_t per_sample = keep.numel() / batch;
  RandomKey key{
      .seed = context.seed, .purpose = Purpose::kDropout, .epoch = context.epoch, .layer = layer};
  const std::int64_t* epoch = context.epoch_on_device.defined()
                                  ? context.epoch_on_device.const_data_ptr<std::int64_t>()
                                  : nullptr;
  const auto* samples = context.samples.const_data_ptr<std::int64_t>();
  auto* mask = keep.mutable_data_ptr<std::uint8_t>();
  if (keep.is_cuda()) {
    device_dropout_mask(mask, samples, batch, per_sample, key, epoch, threshold,
                        gpu::current_stream());
  } else {
    if (epoch != nullptr) key.epoch = checked_cast<std::uint32_t>(*epoch);
    host_mask(mask, samples, batch, checked_cast<std::size_t>(per_sample), key, threshold);
  }
  return {.keep = keep, .scale = 65536.0 / (65536.0 - static_cast<double>(threshold))};
}

at::Tensor dropout(const at::Tensor& x, double p, const StepContext& context, std::uint8_t layer) {
  if (!drops(context, x.size(0))) return x;
  RECORD_FUNCTION(kOperator, std::vector<c10::IValue>{x});
  const DropoutMask mask = draw_dropout_mask(x.sizes(), p, context, layer);
  return DropoutFunction::apply(ordered(x), mask.keep, mask.scale);
}

}  // namespace lockstep
