// Networks that only tests want: the program that has them is otherwise the program.
#include <torch/nn/modules/linear.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "lockstep/model/network.h"

namespace lockstep {

namespace {

class Linear : public Network {
 public:
  explicit Linear(const NetworkShape& shape)
      : dense_(register_module(
            "dense",
            torch::nn::Linear(shape.channels * shape.height * shape.width, shape.classes))) {}

  at::Tensor forward(const at::Tensor& images, const StepContext&) override {
    return dense_(images.flatten(1));
  }

 private:
  torch::nn::Linear dense_;
};

// Remembers something that no checkpoint holds: what lockstep prove resume must find.
class Forgetful : public Linear {
 public:
  using Linear::Linear;

  at::Tensor forward(const at::Tensor& images, const StepContext& context) override {
    if (context.training) ++passes_;
    return Linear::forward(images, context) * (1 + 0.01 * passes_);
  }

 private:
  int passes_ = 0;
};

// Writes down the samples it is trained on: "epoch step sample sample ..." in a file a process.
class Witness : public Linear {
 public:
  using Linear::Linear;

  at::Tensor forward(const at::Tensor& images, const StepContext& context) override {
    if (context.training) {
      const char* directory = std::getenv("LOCKSTEP_TEST_WITNESS");
      std::ofstream file(std::string(directory) + "/" + std::to_string(::getpid()), std::ios::app);
      file << context.epoch << ' ' << context.step;
      for (std::int64_t i = 0; i < context.samples.numel(); ++i) {
        file << ' ' << context.samples[i].item<std::int64_t>();
      }
      file << '\n';
    }
    return Linear::forward(images, context);
  }
};

template <typename Kind>
std::shared_ptr<Network> make(const NetworkShape& shape) {
  return std::make_shared<Kind>(shape);
}

}  // namespace

NetworkEntry forgetful_entry() {
  return {"forgetful", "counts its forward passes and lets the count decide", make<Forgetful>};
}

NetworkEntry witness_entry() {
  return {"witness", "writes down the samples it is trained on", make<Witness>};
}

}  // namespace lockstep
