// A network for the clock: two 5x5 convolutions of 8 and 24 channels, each pooled, and one dense
// layer. 16,802 parameters at 28x28x1; 99 % of MNIST's test images after three epochs
// (configs/fast.ini).
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/linear.h>

#include "lockstep/base/error.h"
#include "lockstep/model/network.h"
#include "model/dense.h"
#include "model/fast_convolution.h"

namespace lockstep {

namespace {

constexpr std::int64_t kFirst = 8, kSecond = 24;

class SmallCnn : public Network {
 public:
  explicit SmallCnn(const NetworkShape& shape)
      : conv1_(register_module("conv1", same_convolution(shape.channels, kFirst, 5))),
        conv2_(register_module("conv2", same_convolution(kFirst, kSecond, 5))),
        dense1_(register_module(
            "dense1",
            torch::nn::Linear(kSecond * (shape.height / 4) * (shape.width / 4), shape.classes))),
        convolutions_(shape.convolution) {}

  at::Tensor forward(const at::Tensor& images, const StepContext&) override {
    at::Tensor x = convolutions_.relu_pool(conv1_, images);
    x = convolutions_.relu_pool(conv2_, x, Pooled::kRows);
    return dense(dense1_, x);
  }

 private:
  torch::nn::Conv2d conv1_, conv2_;
  torch::nn::Linear dense1_;
  Convolutions convolutions_;
};

}  // namespace

NetworkEntry small_cnn_entry() {
  return {"small-cnn", "two convolutions and a dense layer, for the clock: 16,802 parameters",
          [](const NetworkShape& shape) -> std::shared_ptr<Network> {
            if (shape.height < 4 || shape.width < 4) {
              fail(ExitCode::kUsage,
                   "--model small-cnn: images of {}x{} are too small (4x4 at least)", shape.height,
                   shape.width);
            }
            return std::make_shared<SmallCnn>(shape);
          },
          /*fast_convolutions=*/true,
          /*recordable=*/true};
}

}  // namespace lockstep
