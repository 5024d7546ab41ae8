#include "lockstep/model/initialisation.h"
#include "lockstep/model/network.h"

#include <gtest/gtest.h>
#include <torch/nn/modules/activation.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/container/sequential.h>
#include <torch/nn/modules/linear.h>

#include <cmath>
#include <string>

namespace lockstep {
namespace {

TEST(Initialisation, IsAFunctionOfTheSeed) {
  auto one = make_network("lenet", {});
  auto same = make_network("lenet", {});
  auto other = make_network("lenet", {});
  initialise_glorot_uniform(*one, 1);
  initialise_glorot_uniform(*same, 1);
  initialise_glorot_uniform(*other, 2);
  for (std::size_t i = 0; i < one->parameters().size(); ++i) {
    EXPECT_TRUE(at::equal(one->parameters()[i], same->parameters()[i]));
    if (one->parameters()[i].dim() > 1) {
      EXPECT_FALSE(at::equal(one->parameters()[i], other->parameters()[i]));
    }
  }
}

TEST(Initialisation, IsGlorotUniform) {
  auto cnn = make_network("digits-cnn", {});
  initialise_glorot_uniform(*cnn, 3);
  const at::NoGradGuard no_grad;
  for (const auto& item : cnn->named_parameters()) {
    const at::Tensor& w = item.value();
    if (w.dim() == 1) {
      EXPECT_EQ(w.abs().max().item<float>(), 0.0f) << item.key();
      continue;
    }
    const std::int64_t area = w.dim() == 4 ? w.size(2) * w.size(3) : 1;
    const double limit = std::sqrt(6.0 / static_cast<double>(area * (w.size(0) + w.size(1))));
    const auto largest = w.abs().max().item<double>();
    EXPECT_LE(largest, limit * (1 + 1e-6)) << item.key();
    EXPECT_GT(largest, 0.98 * limit) << item.key();
    // The variance of U(-l, l) is l^2 / 3; the tolerance is five standard errors and more.
    const double error = 5 / std::sqrt(static_cast<double>(w.numel()));
    EXPECT_NEAR(w.var().item<double>() / (limit * limit / 3), 1.0, error) << item.key();
    EXPECT_NEAR(w.mean().item<double>() / limit, 0.0, error) << item.key();
  }
}

// With zeros for what a normalisation multiplies by, nothing would reach the layers before it.
TEST(Initialisation, ScalesAndSlopesStayAsTheirModulesMadeThem) {
  torch::nn::Sequential layers(torch::nn::Linear(5, 3), torch::nn::BatchNorm1d(3),
                               torch::nn::PReLU());
  initialise_glorot_uniform(*layers, 3);
  const auto parameters = layers->named_parameters();
  EXPECT_EQ(parameters["0.bias"].abs().max().item<float>(), 0);
  EXPECT_GT(parameters["0.weight"].abs().min().item<float>(), 0);
  EXPECT_TRUE(parameters["1.weight"].eq(1).all().item<bool>());
  EXPECT_EQ(parameters["1.bias"].abs().max().item<float>(), 0);
  EXPECT_EQ(parameters["2.weight"].item<float>(), 0.25f);

  auto network = make_network("batchnorm-cnn", {});
  initialise_glorot_uniform(*network, 3);
  for (int number = 1; number <= 6; ++number) {
    const auto name = "norm" + std::to_string(number) + ".weight";
    EXPECT_TRUE(network->named_parameters()[name].eq(1).all().item<bool>()) << name;
  }
}

}  // namespace
}  // namespace lockstep
