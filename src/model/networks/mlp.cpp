// A perceptron with two hidden layers: the fastest network here, for trying things out.
#include <torch/nn/modules/linear.h>

#include "lockstep/model/dropout.h"
#include "lockstep/model/network.h"
#include "model/dense.h"

namespace lockstep {

namespace {

class Mlp : public Network {
 public:
  explicit Mlp(const NetworkShape& shape)
      : dense1_(register_module(
            "dense1", torch::nn::Linear(shape.channels * shape.height * shape.width, 256))),
        dense2_(register_module("dense2", torch::nn::Linear(256, 128))),
        dense3_(register_module("dense3", torch::nn::Linear(128, shape.classes))) {}

  at::Tensor forward(const at::Tensor& images, const StepContext& context) override {
    at::Tensor x = dense_relu(dense1_, images.flatten(1));
    x = dropout(x, 0.2, context, 0);
    x = dense_relu(dense2_, x);
    x = dropout(x, 0.2, context, 1);
    return dense(dense3_, x);
  }

 private:
  torch::nn::Linear dense1_, dense2_, dense3_;
};

}  // namespace

NetworkEntry mlp_entry() {
  return {"mlp", "a perceptron with hidden layers of 256 and 128, 235,146 parameters",
          [](const NetworkShape& shape) -> std::shared_ptr<Network> {
            return std::make_shared<Mlp>(shape);
          },
          /*fast_convolutions=*/false,
          /*recordable=*/true};
}

}  // namespace lockstep
