#include "model/dense.h"

#include <ATen/ops/addmm.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/sum.h>
#include <ATen/ops/threshold_backward.h>
#include <ATen/record_function.h>
#include <torch/csrc/autograd/custom_function.h>

#include <vector>

#include "lockstep/base/error.h"
#include "lockstep/model/gradient_owner.h"

namespace lockstep {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// The products are those of LibTorch's own layer on a CPU.
class DenseFunction : public torch::autograd::Function<DenseFunction> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            const at::Tensor& bias, bool relu) {
    // On a GPU addmm takes longer than both of these: on an H200 by .25 ms a layer of digits-cnn.
    at::Tensor y = x.is_cuda() ? at::mm(x, weight.t()).add_(bias) : at::addmm(bias, x, weight.t());
    if (relu) y.relu_();
    context->save_for_backward({x, weight, bias, relu ? y : at::Tensor()});
    return y;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1], &bias = saved[2], &y = saved[3];
    const at::Tensor gradient =
        y.defined() ? at::threshold_backward(gradients[0], y, 0) : gradients[0];
    at::Tensor dx, dw, db;
    if (context->needs_input_grad(0)) dx = gradient.mm(weight);
    if (context->needs_input_grad(1)) {
      if (at::Tensor own = claim_gradient(weight); own.defined()) {
        at::mm_out(own, gradient.t(), x);
      } else {
        dw = gradient.t().mm(x);
      }
    }
    if (context->needs_input_grad(2)) {
      if (at::Tensor own = claim_gradient(bias); own.defined()) {
        at::sum_out(own, gradient, 0);
      } else {
        db = gradient.sum(0);
      }
    }
    return {dx, dw, db, at::Tensor()};
  }
};

at::Tensor apply(const torch::nn::Linear& layer, const at::Tensor& x, bool relu) {
  LOCKSTEP_CHECK(layer->bias.defined() && x.dim() == 2, "a dense layer has a bias and takes rows");
  // For those who watch operators: it is none of LibTorch's.
  RECORD_FUNCTION("lockstep::dense", (std::vector<c10::IValue>{x, layer->weight}));
  return DenseFunction::apply(x, layer->weight, layer->bias, relu);
}

}  // namespace

at::Tensor dense(const torch::nn::Linear& layer, const at::Tensor& x) {
  return apply(layer, x, /*relu=*/false);
}

at::Tensor dense_relu(const torch::nn::Linear& layer, const at::Tensor& x) {
  return apply(layer, x, /*relu=*/true);
}

}  // namespace lockstep
