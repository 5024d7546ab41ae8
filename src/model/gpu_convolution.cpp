#include "gpu_convolution.h"

#include <ATen/ops/conv2d.h>
#include <ATen/ops/convolution_backward.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/record_function.h>
#include <torch/csrc/autograd/custom_function.h>

#include <vector>

#include "convolution_epilogue.h"
#include "gpu.h"
#include "lockstep/base/cast.h"
#include "lockstep/base/error.h"

namespace lockstep {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

epilogue::Shape shape_of(const at::Tensor& images) {
  return {.batch = images.size(0),
          .channels = images.size(1),
          .height = checked_cast<int>(images.size(2)),
          .width = checked_cast<int>(images.size(3))};
}

class GpuConvolutionFunction : public torch::autograd::Function<GpuConvolutionFunction> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& input,
                            const at::Tensor& weight, const at::Tensor& bias, std::int64_t padding,
                            bool pool, const DropoutMask& dropout, bool goes_back) {
    const at::Tensor x = input.contiguous();
    const at::Tensor images =
        at::conv2d(x, weight, /*bias=*/{}, /*stride=*/1, padding).contiguous();
    const epilogue::Shape shape = shape_of(images);
    at::Tensor y = images, routes;
    if (pool) {
      const std::vector<std::int64_t> size{shape.batch, shape.channels, shape.pooled_height(),
                                           shape.pooled_width()};
      y = at::empty(size, images.options());
      if (goes_back) routes = at::empty(size, images.options().dtype(at::kByte));
      const at::Tensor& keep = dropout.keep;
      epilogue::run(
          epilogue::ReluPool{
              .shape = shape,
              .x = images.const_data_ptr<float>(),
              .bias = bias.const_data_ptr<float>(),
              .keep = keep.defined() ? keep.const_data_ptr<std::uint8_t>() : nullptr,
              .scale = static_cast<float>(dropout.scale),
              .y = y.mutable_data_ptr<float>(),
              .routes = goes_back ? routes.mutable_data_ptr<std::uint8_t>() : nullptr},
          gpu::current_stream());
    } else {
      epilogue::run(epilogue::Relu{.shape = shape,
                                   .x = y.mutable_data_ptr<float>(),
                                   .bias = bias.const_data_ptr<float>()},
                    gpu::current_stream());
    }
    context->save_for_backward({x, weight, bias, pool ? routes : y});
    context->saved_data["padding"] = padding;
    context->saved_data["pool"] = pool;
    context->saved_data["scale"] = dropout.scale;
    context->saved_data["size"] = images.sizes();
    return y;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    LOCKSTEP_CHECK(!at::GradMode::is_enabled(),
                   "fused convolutions have no second derivative: use --convolution direct");
    const auto saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1], &bias = saved[2], &y = saved[3];
    const std::int64_t padding = context->saved_data["padding"].toInt();
    const at::Tensor gradient = gradients[0].contiguous();
    const at::Tensor dz = at::empty(context->saved_data["size"].toIntVector(), gradient.options());
    const epilogue::Shape shape = shape_of(dz);
    const at::Tensor sums = at::empty({shape.planes()}, gradient.options());
    const at::Tensor db = at::empty_like(bias);
    const auto run = [&](const auto& pass) {
      epilogue::run(pass, sums.mutable_data_ptr<float>(), db.mutable_data_ptr<float>(),
                    gpu::current_stream());
    };
    if (context->saved_data["pool"].toBool()) {
      run(epilogue::ReluPoolBackward{
          .shape = shape,
          .routes = y.const_data_ptr<std::uint8_t>(),
          .gradient = gradient.const_data_ptr<float>(),
          .scale = static_cast<float>(context->saved_data["scale"].toDouble()),
          .dx = dz.mutable_data_ptr<float>()});
    } else {
      run(epilogue::ReluBackward{.shape = shape,
                                 .y = y.const_data_ptr<float>(),
                                 .gradient = gradient.const_data_ptr<float>(),
                                 .dx = dz.mutable_data_ptr<float>()});
    }
    const auto [dx, dw, none] = at::convolution_backward(
        dz, x, weight, /*bias_sizes=*/at::OptionalIntArrayRef(), /*stride=*/{1, 1},
        /*padding=*/{padding, padding}, /*dilation=*/{1, 1}, /*transposed=*/false,
        /*output_padding=*/{0, 0}, /*groups=*/1,
        {context->needs_input_grad(0), context->needs_input_grad(1), false});
    return {dx, dw, db, at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

at::Tensor gpu_convolution(const torch::nn::Conv2dImpl& layer, const at::Tensor& x, bool pool,
                           const DropoutMask& dropout) {
  // For those who watch operators: it is none of LibTorch's.
  RECORD_FUNCTION("lockstep::convolution", (std::vector<c10::IValue>{x, layer.weight}));
  return GpuConvolutionFunction::apply(x, layer.weight, layer.bias, layer.weight.size(2) / 2, pool,
                                       dropout, at::GradMode::is_enabled());
}

}  // namespace lockstep
