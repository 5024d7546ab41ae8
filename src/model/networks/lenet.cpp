// LeNet-5 with ReLU and max-pooling (after LeCun et al., "Gradient-based learning applied to
// document recognition", 1998): 61,706 parameters at 28x28x1.
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/linear.h>

#include "lockstep/base/error.h"
#include "lockstep/model/network.h"
#include "model/dense.h"
#include "model/memory_format.h"

namespace lockstep {

namespace {

// Side length after "5x5 same, pool 2, 5x5 valid, pool 2".
std::int64_t final_side(std::int64_t side) { return (side / 2 - 4) / 2; }

class Lenet : public Network {
 public:
  explicit Lenet(const NetworkShape& shape)
      : conv1_(register_module(
            "conv1", torch::nn::Conv2d(torch::nn::Conv2dOptions(shape.channels, 6, 5).padding(2)))),
        conv2_(register_module("conv2", torch::nn::Conv2d(torch::nn::Conv2dOptions(6, 16, 5)))),
        dense1_(register_module(
            "dense1",
            torch::nn::Linear(16 * final_side(shape.height) * final_side(shape.width), 120))),
        dense2_(register_module("dense2", torch::nn::Linear(120, 84))),
        dense3_(register_module("dense3", torch::nn::Linear(84, shape.classes))) {}

  at::Tensor forward(const at::Tensor& images, const StepContext&) override {
    at::Tensor x = conv1_(images);
    x = x.contiguous(convolution_format(x)).relu_();
    x = at::max_pool2d(x, 2);
    x = at::max_pool2d(conv2_(x).relu_(), 2);
    x = dense_relu(dense1_, x.contiguous().flatten(1));
    return dense(dense3_, dense_relu(dense2_, x));
  }

 private:
  torch::nn::Conv2d conv1_, conv2_;
  torch::nn::Linear dense1_, dense2_, dense3_;
};

}  // namespace

NetworkEntry lenet_entry() {
  return {"lenet", "LeNet-5 with ReLU and max-pooling, 61,706 parameters",
          [](const NetworkShape& shape) -> std::shared_ptr<Network> {
            if (shape.height < 12 || shape.width < 12) {
              fail(ExitCode::kUsage,
                   "--model lenet: images of {}x{} are too small (12x12 at least)", shape.height,
                   shape.width);
            }
            return std::make_shared<Lenet>(shape);
          },
          /*fast_convolutions=*/false,
          /*recordable=*/true};
}

}  // namespace lockstep
