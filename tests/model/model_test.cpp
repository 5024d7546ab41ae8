#include "lockstep/model/model.h"

#include <ATen/ops/ones.h>
#include <gtest/gtest.h>
#include <torch/nn/modules/activation.h>
#include <torch/nn/modules/container/sequential.h>
#include <torch/nn/modules/linear.h>

#include "lockstep/base/error.h"
#include "lockstep/model/flat_parameters.h"

namespace lockstep {
namespace {

struct Plain : torch::nn::Module {
  at::Tensor forward(const at::Tensor& inputs) { return inputs * 2; }
};

struct WithContext : torch::nn::Module {
  at::Tensor forward(const at::Tensor& inputs, const StepContext& context) {
    return inputs * static_cast<double>(context.step);
  }
};

TEST(Model, CallsWhateverForwardTheModuleHas) {
  const at::Tensor inputs = at::ones({2, 3});
  StepContext context;
  context.step = 5;
  EXPECT_TRUE(at::equal(make_model<Plain>().forward(inputs, context), inputs * 2));
  EXPECT_TRUE(at::equal(make_model<WithContext>().forward(inputs, context), inputs * 5));
  torch::nn::Sequential chain(torch::nn::Linear(3, 4), torch::nn::ReLU());
  const Model model(chain);
  EXPECT_TRUE(at::equal(model.forward(inputs, context), chain->forward(inputs)));
  const Model other(std::make_shared<Plain>(),
                    [](const at::Tensor& x, const StepContext&) { return x + 1; });
  EXPECT_TRUE(at::equal(other.forward(inputs, context), inputs + 1));
}

TEST(Model, KeepsTheModuleAlive) {
  std::weak_ptr<torch::nn::Module> seen;
  {
    Model model = make_model<Plain>();
    seen = model.module();
    const Model copy = model;
    model = make_model<Plain>();
    EXPECT_FALSE(seen.expired());
    EXPECT_TRUE(at::equal(copy.forward(at::ones({1}), {}), at::ones({1}) * 2));
  }
  EXPECT_TRUE(seen.expired());
}

std::string refusal(const std::shared_ptr<torch::nn::Module>& module) {
  try {
    const FlatParameters flat(module, at::kCPU);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    return error.what();
  }
  return "";
}

TEST(FlatParameters, NamesWhatItCannotTrain) {
  const auto frozen = std::make_shared<torch::nn::LinearImpl>(2, 3);
  frozen->weight.set_requires_grad(false);
  EXPECT_EQ(refusal(frozen), "parameter weight needs no gradient: register it as a buffer");

  struct Twice : torch::nn::Module {
    Twice() {
      const at::Tensor one = register_parameter("one", at::ones({2}));
      register_parameter("two", one);
    }
  };
  EXPECT_EQ(refusal(std::make_shared<Twice>()),
            "parameters one and two are one tensor: register it once");
}

}  // namespace
}  // namespace lockstep
