// Three blocks of two 3x3 convolutions with 32, 64 and 128 channels, each convolution followed by
// ReLU and batch normalisation (S. Ioffe and C. Szegedy, ICML 2015), each block by dropout: 298,858
// parameters at 28x28x1. What configs/best.ini trains.
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/linear.h>

#include <string>
#include <vector>

#include "lockstep/base/error.h"
#include "lockstep/model/dropout.h"
#include "lockstep/model/network.h"
#include "model/dense.h"
#include "model/fast_convolution.h"

namespace lockstep {

namespace {

class BatchnormCnn : public Network {
 public:
  explicit BatchnormCnn(const NetworkShape& shape) : convolutions_(shape.convolution) {
    std::int64_t in = shape.channels;
    for (const std::int64_t out : {32, 64, 128}) {
      for (int half = 0; half < 2; ++half) {
        const std::string number = std::to_string(layers_.size() + 1);
        layers_.push_back({register_module("conv" + number, same_convolution(in, out, 3)),
                           register_module("norm" + number, torch::nn::BatchNorm2d(out))});
        in = out;
      }
    }
    dense_ = register_module(
        "dense", torch::nn::Linear(in * (shape.height / 8) * (shape.width / 8), shape.classes));
  }

  at::Tensor forward(const at::Tensor& images, const StepContext& context) override {
    at::Tensor x = images;
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      const bool last_of_block = i % 2 == 1;
      x = last_of_block ? convolutions_.relu_pool(layers_[i].convolution, x)
                        : convolutions_.relu(layers_[i].convolution, x);
      x = layers_[i].normalisation->forward(x);
      if (last_of_block) x = dropout(x, 0.3, context, static_cast<std::uint8_t>(i / 2));
    }
    return dense(dense_, x.contiguous().flatten(1));
  }

 private:
  struct Layer {
    torch::nn::Conv2d convolution;
    torch::nn::BatchNorm2d normalisation;
  };

  std::vector<Layer> layers_;
  torch::nn::Linear dense_ = nullptr;
  Convolutions convolutions_;
};

}  // namespace

NetworkEntry batchnorm_cnn_entry() {
  return {"batchnorm-cnn",
          "three blocks of two convolutions with batch normalisation, 298,858 parameters",
          [](const NetworkShape& shape) -> std::shared_ptr<Network> {
            // Two by two are left, so that one image is enough for a variance.
            if (shape.height < 16 || shape.width < 16) {
              fail(ExitCode::kUsage,
                   "--model batchnorm-cnn: images of {}x{} are too small (16x16 at least)",
                   shape.height, shape.width);
            }
            return std::make_shared<BatchnormCnn>(shape);
          },
          /*fast_convolutions=*/true,
          /*recordable=*/true};
}

}  // namespace lockstep
