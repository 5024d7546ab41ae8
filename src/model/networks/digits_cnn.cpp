// The digit recogniser of the recipe: two blocks of two convolutions, 887,530 parameters at
// 28x28x1.
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/linear.h>

#include "lockstep/base/error.h"
#include "lockstep/model/dropout.h"
#include "lockstep/model/network.h"
#include "model/dense.h"
#include "model/fast_convolution.h"

namespace lockstep {

namespace {

class DigitsCnn : public Network {
 public:
  explicit DigitsCnn(const NetworkShape& shape)
      : conv1_(register_module("conv1", same_convolution(shape.channels, 32, 5))),
        conv2_(register_module("conv2", same_convolution(32, 32, 5))),
        conv3_(register_module("conv3", same_convolution(32, 64, 3))),
        conv4_(register_module("conv4", same_convolution(64, 64, 3))),
        dense1_(register_module(
            "dense1", torch::nn::Linear(64 * (shape.height / 4) * (shape.width / 4), 256))),
        dense2_(register_module("dense2", torch::nn::Linear(256, shape.classes))),
        convolutions_(shape.convolution) {}

  at::Tensor forward(const at::Tensor& images, const StepContext& context) override {
    at::Tensor x = convolutions_.relu(conv1_, images);
    x = convolutions_.relu_pool_dropout(conv2_, x, 0.25, context, 0);
    x = convolutions_.relu(conv3_, x);
    x = convolutions_.relu_pool_dropout(conv4_, x, 0.25, context, 1, Pooled::kRows);
    x = dense_relu(dense1_, x);
    x = dropout(x, 0.5, context, 2);
    return dense(dense2_, x);
  }

 private:
  torch::nn::Conv2d conv1_, conv2_, conv3_, conv4_;
  torch::nn::Linear dense1_, dense2_;
  Convolutions convolutions_;
};

}  // namespace

NetworkEntry digits_cnn_entry() {
  return {"digits-cnn", "the recipe's CNN: two blocks of two convolutions, 887,530 parameters",
          [](const NetworkShape& shape) -> std::shared_ptr<Network> {
            if (shape.height < 4 || shape.width < 4) {
              fail(ExitCode::kUsage,
                   "--model digits-cnn: images of {}x{} are too small (4x4 at least)", shape.height,
                   shape.width);
            }
            return std::make_shared<DigitsCnn>(shape);
          },
          /*fast_convolutions=*/true,
          /*recordable=*/true};
}

}  // namespace lockstep
