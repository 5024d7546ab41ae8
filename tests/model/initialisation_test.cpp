#include "lockstep/model/initialisation.h"
#include "lockstep/model/network.h"

#include <gtest/gtest.h>

#include <cmath>

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
TEST(Initialisation, ScalesOfNormalisationsAreOnes) {
  auto network = make_network("batchnorm-cnn", {});
  initialise_glorot_uniform(*network, 3);
  int scales = 0;
  for (const auto& item : network->named_parameters()) {
    if (item.value().dim() > 1) continue;
    const bool scale = item.key().ends_with(".weight");
    scales += scale ? 1 : 0;
    EXPECT_TRUE(item.value().eq(scale ? 1 : 0).all().item<bool>()) << item.key();
  }
  EXPECT_EQ(scales, 6);
}

}  // namespace
}  // namespace lockstep
