#include "fast_convolution.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/max_pool2d.h>
#include <ATen/record_function.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <limits>
#include <utility>
#include <variant>
#include <vector>

#include "gpu_convolution.h"
#include "lockstep/base/cast.h"
#include "lockstep/base/error.h"
#include "lockstep/kernels/convolution.h"
#include "lockstep/model/dropout.h"
#include "lockstep/model/executor.h"
#include "lockstep/model/gradient_owner.h"
#include "model/memory_format.h"

namespace lockstep {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr auto kImages = at::MemoryFormat::ChannelsLast;

ConvolutionShape shape_of(const at::Tensor& x, const at::Tensor& weight, bool pool,
                          bool planar = false) {
  return {.in_channels = checked_cast<int>(weight.size(1)),
          .out_channels = checked_cast<int>(weight.size(0)),
          .kernel = checked_cast<int>(weight.size(2)),
          .height = checked_cast<int>(x.size(2)),
          .width = checked_cast<int>(x.size(3)),
          .pool = pool,
          .planar = planar};
}

// Where a parameter's gradient is written, and what autograd is given.
struct GradientPlace {
  GradientPlace(const at::Tensor& parameter, bool wanted) {
    if (wanted) place = claim_gradient(parameter);
    if (!place.defined()) place = passed = at::empty_like(parameter);
  }
  float* data() const { return place.mutable_data_ptr<float>(); }

  at::Tensor place, passed;
};

class FusedFunction : public torch::autograd::Function<FusedFunction> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& input,
                            const at::Tensor& weight, const at::Tensor& bias, bool pool, bool rows,
                            const DropoutMask& dropout, bool goes_back,
                            const c10::intrusive_ptr<ConvolutionKernels>& kernels) {
    const FusedConvolution layer(shape_of(input, weight, pool, rows), kernels->set);
    // A copy only where the order of elements is another one: with one channel both are the same.
    const at::Tensor x = input.contiguous(kImages);
    const at::Tensor w = weight.contiguous(), b = bias.contiguous();
    const auto size = {x.size(0), w.size(0), static_cast<std::int64_t>(layer.out_height()),
                       static_cast<std::int64_t>(layer.out_width())};
    at::Tensor y = rows ? at::empty({x.size(0), w.size(0) * layer.out_height() * layer.out_width()},
                                    x.options())
                        : at::empty(size, x.options(), kImages);
    at::Tensor routes;
    if (pool || goes_back) {
      routes = at::empty({x.size(0), layer.route_bytes()}, x.options().dtype(at::kByte));
    }
    LibTorchExecutor executor;
    const at::Tensor& keep = dropout.keep;
    layer.forward(x.size(0), x.const_data_ptr<float>(),
                  {.weight = w.const_data_ptr<float>(),
                   .bias = b.const_data_ptr<float>(),
                   .keep = keep.defined() ? keep.const_data_ptr<std::uint8_t>() : nullptr,
                   .scale = static_cast<float>(dropout.scale)},
                  y.mutable_data_ptr<float>(),
                  routes.defined() ? routes.mutable_data_ptr<std::uint8_t>() : nullptr,
                  kernels->workspace, executor);
    context->save_for_backward({x, w, b, routes});
    context->saved_data["pool"] = pool;
    context->saved_data["rows"] = rows;
    context->saved_data["scale"] = dropout.scale;
    context->saved_data["kernels"] = c10::IValue::make_capsule(kernels);
    return y;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    // A gradient's gradient would lack what it owes to this layer, without a word.
    LOCKSTEP_CHECK(!at::GradMode::is_enabled(),
                   "fast convolutions have no second derivative: use --convolution direct");
    const auto saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &w = saved[1], &b = saved[2], &routes = saved[3];
    const bool pool = context->saved_data["pool"].toBool();
    const bool rows = context->saved_data["rows"].toBool();
    const auto kernels = c10::static_intrusive_pointer_cast<ConvolutionKernels>(
        context->saved_data["kernels"].toCapsule());
    const FusedConvolution layer(shape_of(x, w, pool, rows), kernels->set);
    const at::Tensor gradient =
        gradients[0].contiguous(rows ? at::MemoryFormat::Contiguous : kImages);
    at::Tensor dx;
    if (context->needs_input_grad(0)) dx = at::empty(x.sizes(), x.options(), kImages);
    const GradientPlace dw(w, context->needs_input_grad(1)), db(b, context->needs_input_grad(2));
    LibTorchExecutor executor;
    layer.backward(x.size(0), x.const_data_ptr<float>(), w.const_data_ptr<float>(),
                   {.output_gradient = gradient.const_data_ptr<float>(),
                    .routes = routes.const_data_ptr<std::uint8_t>(),
                    .scale = static_cast<float>(context->saved_data["scale"].toDouble())},
                   {.input = dx.defined() ? dx.mutable_data_ptr<float>() : nullptr,
                    .weight = dw.data(),
                    .bias = db.data()},
                   kernels->workspace, executor);
    return {dx,           dw.passed,    db.passed,    at::Tensor(),
            at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

// Stride 1 and zeros around the image, as many as keep its size.
bool is_same_convolution(const torch::nn::Conv2dImpl& layer) {
  const auto& options = layer.options;
  const auto all = [](const torch::ExpandingArray<2>& values, std::int64_t value) {
    return (*values)[0] == value && (*values)[1] == value;
  };
  const auto* padding = std::get_if<torch::ExpandingArray<2>>(&options.padding());
  const bool same =
      padding != nullptr && layer.weight.dim() == 4 && all(*padding, layer.weight.size(2) / 2);
  return same && all(options.stride(), 1) && all(options.dilation(), 1) && options.groups() == 1 &&
         std::holds_alternative<torch::enumtype::kZeros>(options.padding_mode());
}

// Whether cuDNN and one pass of our own can stand in for this call.
bool fits_gpu(const torch::nn::Conv2dImpl& layer, const at::Tensor& x, bool pool) {
  constexpr std::int64_t kMost = std::numeric_limits<int>::max();
  return x.is_cuda() && x.scalar_type() == at::kFloat && x.dim() == 4 &&
         is_same_convolution(layer) && layer.weight.is_cuda() &&
         layer.weight.scalar_type() == at::kFloat && layer.weight.size(2) % 2 == 1 &&
         layer.weight.size(3) == layer.weight.size(2) && layer.bias.defined() &&
         x.size(2) * x.size(3) <= kMost && x.size(0) * layer.weight.size(0) <= kMost &&
         (!pool || (x.size(2) >= 2 && x.size(3) >= 2));
}

// The layer by LibTorch's operators.
at::Tensor apply_direct(torch::nn::Conv2d layer, const at::Tensor& x) {
  // One input channel makes NCHW and NHWC the same strides: only the output can be converted then.
  const at::Tensor y = layer->forward(x);
  return y.contiguous(convolution_format(y)).relu_();
}

at::Tensor in_form(const at::Tensor& images, Pooled form) {
  return form == Pooled::kRows ? images.contiguous().flatten(1) : images;
}

// Whether the kernels can stand in for this call.
bool fits(const torch::nn::Conv2dImpl& layer, const at::Tensor& x, bool pool) {
  constexpr std::int64_t kMost = 1 << 20;  // well within int; the kernels have their own limits
  return is_same_convolution(layer) && x.is_cpu() && x.scalar_type() == at::kFloat &&
         x.dim() == 4 && layer.weight.scalar_type() == at::kFloat && layer.bias.defined() &&
         layer.bias.scalar_type() == at::kFloat && layer.weight.size(0) < kMost &&
         layer.weight.size(1) < kMost && x.size(2) < kMost && x.size(3) < kMost &&
         layer.weight.size(1) == x.size(1) && layer.weight.size(2) == layer.weight.size(3) &&
         supports(shape_of(x, layer.weight, pool)) &&
         (layer.weight.size(1) >= 8 || !x.requires_grad());
}

}  // namespace

torch::nn::Conv2d same_convolution(std::int64_t in, std::int64_t out, std::int64_t kernel) {
  return torch::nn::Conv2d(torch::nn::Conv2dOptions(in, out, kernel).padding(kernel / 2));
}

InstructionSet convolution_set(const std::string& choice) {
  return choice == "direct" ? InstructionSet::kNone : best_instruction_set();
}

void check_convolution(const std::string& choice, const std::string& name) {
  if (choice == "auto" || choice == "direct") return;
  if (choice != "fast") {
    fail(ExitCode::kUsage, "--convolution {}: expected auto, direct or fast", choice);
  }
  if (!has_fast_convolutions(name)) {
    fail(ExitCode::kUsage, "--convolution fast: the network {} has none; use auto or direct", name);
  }
  if (best_instruction_set() == InstructionSet::kNone) {
    fail(ExitCode::kUsage,
         "--convolution fast: needs an x86 CPU with AVX2 and FMA, which this one lacks or "
         "ATEN_CPU_CAPABILITY forbids; use auto or direct");
  }
}

Convolutions::Convolutions(const std::string& choice)
    : kernels_(c10::make_intrusive<ConvolutionKernels>(convolution_set(choice))),
      direct_(choice == "direct") {}

bool Convolutions::are_fused(const torch::nn::Conv2dImpl& layer, const at::Tensor& x,
                             bool pool) const {
  return !direct_ && fits_gpu(layer, x, pool);
}

bool Convolutions::are_fast(const torch::nn::Conv2dImpl& layer, const at::Tensor& x,
                            bool pool) const {
  return kernels_->set != InstructionSet::kNone && fits(layer, x, pool);
}

at::Tensor Convolutions::apply_fast(const torch::nn::Conv2dImpl& layer, const at::Tensor& x,
                                    bool pool, Pooled form, const DropoutMask& dropout) const {
  // For those who watch operators, a profiler or a benchmark: it is none of LibTorch's.
  RECORD_FUNCTION("lockstep::convolution", (std::vector<c10::IValue>{x, layer.weight}));
  return FusedFunction::apply(x, layer.weight, layer.bias, pool, form == Pooled::kRows, dropout,
                              at::GradMode::is_enabled(), kernels_);
}

at::Tensor Convolutions::relu(torch::nn::Conv2d layer, const at::Tensor& x) const {
  constexpr bool kPool = false;
  if (are_fast(*layer, x, kPool)) return apply_fast(*layer, x, kPool, Pooled::kImages, {});
  if (are_fused(*layer, x, kPool)) return gpu_convolution(*layer, x, kPool, {});
  return apply_direct(std::move(layer), x);
}

at::Tensor Convolutions::relu_pool(torch::nn::Conv2d layer, const at::Tensor& x,
                                   Pooled form) const {
  constexpr bool kPool = true;
  if (are_fast(*layer, x, kPool)) return apply_fast(*layer, x, kPool, form, {});
  if (are_fused(*layer, x, kPool)) return in_form(gpu_convolution(*layer, x, kPool, {}), form);
  return in_form(at::max_pool2d(apply_direct(std::move(layer), x), 2), form);
}

at::Tensor Convolutions::relu_pool_dropout(torch::nn::Conv2d layer, const at::Tensor& x, double p,
                                           const StepContext& context, std::uint8_t dropout_layer,
                                           Pooled form) const {
  constexpr bool kPool = true;
  if (!drops(context, x.size(0))) return relu_pool(std::move(layer), x, form);
  const bool on_cpu = are_fast(*layer, x, kPool);
  if (!on_cpu && !are_fused(*layer, x, kPool)) {
    return in_form(dropout(relu_pool(std::move(layer), x), p, context, dropout_layer), form);
  }
  const auto size = {x.size(0), layer->weight.size(0), x.size(2) / 2, x.size(3) / 2};
  const DropoutMask mask = draw_dropout_mask(size, p, context, dropout_layer);
  return on_cpu ? apply_fast(*layer, x, kPool, form, mask)
                : in_form(gpu_convolution(*layer, x, kPool, mask), form);
}

}  // namespace lockstep
