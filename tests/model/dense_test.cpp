// Dense layers with a gradient that is written in place, against LibTorch's own.
#include "model/dense.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/variable.h>

#include <functional>
#include <utility>
#include <vector>

#include "gradient_giver.h"

namespace lockstep {
namespace {

class Dense : public ::testing::Test {
 protected:
  Dense() {
    at::manual_seed(1);
    layer = torch::nn::Linear(37, 19);
    images = at::rand({11, 37});
    factor = at::rand({11, 19}).sub(0.5);
  }

  using Forward = std::function<at::Tensor(const at::Tensor&)>;
  // Output, and gradients of input, weight and bias.
  std::vector<at::Tensor> run(const Forward& forward) {
    layer->zero_grad();
    const at::Tensor x = images.clone().set_requires_grad(true);
    const at::Tensor y = forward(x);
    (y.sigmoid() * factor).sum().backward();
    return {y.detach(), x.grad(), layer->weight.grad(), layer->bias.grad()};
  }
  void expect_own(const std::vector<at::Tensor>& passed) {
    const auto expected = run([&](const at::Tensor& x) { return layer->forward(x); });
    for (std::size_t i = 0; i < expected.size(); ++i) {
      EXPECT_TRUE(passed[i].equal(expected[i])) << "tensor " << i;
    }
  }
  std::shared_ptr<torch::autograd::Node> give(const at::Tensor& gradient) {
    return give_gradient(layer->weight, gradient);
  }

  torch::nn::Linear layer = nullptr;
  at::Tensor images, factor;
};

TEST_F(Dense, HasTheBitsOfLibTorchs) {
  expect_own(run([&](const at::Tensor& x) { return dense(layer, x); }));
  // The recipe's.
  layer = torch::nn::Linear(3136, 256);
  images = at::rand({86, 3136});
  factor = at::rand({86, 256}).sub(0.5);
  expect_own(run([&](const at::Tensor& x) { return dense(layer, x); }));
}

TEST_F(Dense, HasTheBitsOfAReluBehindIt) {
  const auto expected = run([&](const at::Tensor& x) { return layer->forward(x).relu(); });
  const auto passed = run([&](const at::Tensor& x) { return dense_relu(layer, x); });
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_TRUE(passed[i].equal(expected[i])) << "tensor " << i;
  }
  EXPECT_EQ(passed[0].lt(0).sum().item<int>(), 0);
}

TEST_F(Dense, HasASecondDerivative) {
  const auto gradient_of_gradient = [&](bool own) {
    layer->zero_grad();
    const at::Tensor x = images.clone().set_requires_grad(true);
    const at::Tensor y = own ? dense_relu(layer, x) : layer->forward(x).relu();
    const auto dx = torch::autograd::grad({(y * factor).sum()}, {x}, {}, {}, /*create_graph=*/true);
    dx[0].square().sum().backward();
    return layer->weight.grad().clone();
  };
  const at::Tensor expected = gradient_of_gradient(false);
  EXPECT_GT(expected.abs().max().item<float>(), 0);
  EXPECT_TRUE(gradient_of_gradient(true).allclose(expected));
}

TEST_F(Dense, WritesIntoAGradientThatIsGiven) {
  const at::Tensor own = at::full({19, 37}, 7.0);
  const auto keep = give(own);
  auto passed = run([&](const at::Tensor& x) { return dense(layer, x); });
  EXPECT_FALSE(passed[2].defined()) << "nothing went through autograd";
  passed[2] = own;
  expect_own(passed);
}

TEST_F(Dense, WritesTheBiasWhereItIsGiven) {
  const at::Tensor own = at::full({19}, 7.0);
  const auto keep = give_gradient(layer->bias, own);
  auto passed = run([&](const at::Tensor& x) { return dense(layer, x); });
  EXPECT_FALSE(passed[3].defined()) << "nothing went through autograd";
  passed[3] = own;
  expect_own(passed);
}

TEST_F(Dense, AddsASecondUseThroughAutograd) {
  const auto twice = [&](auto once) {
    return [this, once](const at::Tensor& x) { return once(x) + once(x.sin()); };
  };
  const auto expected = run(twice([&](const at::Tensor& x) { return layer->forward(x); }));
  const at::Tensor own = at::full({19, 37}, 7.0);
  const auto keep = give(own);
  const auto passed = run(twice([&](const at::Tensor& x) { return dense(layer, x); }));
  ASSERT_TRUE(passed[2].defined());
  EXPECT_TRUE((own + passed[2]).allclose(expected[2], 1e-5, 1e-6));
}

TEST_F(Dense, LeavesToAutogradWhatItsOwnerMustSee) {
  const at::Tensor own = at::full({19, 37}, 7.0);
  const auto keep = give(own);
  const auto loss = [&] { return (dense(layer, images).relu() * factor).sum(); };
  const at::Tensor expected =
      torch::autograd::grad({(layer->forward(images).relu() * factor).sum()}, {layer->weight})[0];
  // A gradient that is asked for.
  EXPECT_TRUE(torch::autograd::grad({loss()}, {layer->weight})[0].equal(expected));
  // One that has a gradient itself.
  layer->zero_grad();
  dense(layer, images).pow(2).sum().backward({}, /*retain_graph=*/true, /*create_graph=*/true);
  ASSERT_TRUE(layer->weight.grad().defined());
  EXPECT_TRUE(layer->weight.grad().requires_grad());
  // A hook of the user's.
  layer->zero_grad();
  layer->weight.register_hook([](const at::Tensor& gradient) { return gradient * 2; });
  loss().backward();
  EXPECT_TRUE(layer->weight.grad().equal(expected * 2));
  EXPECT_TRUE(own.equal(at::full({19, 37}, 7.0))) << "was never written";
}

}  // namespace
}  // namespace lockstep
