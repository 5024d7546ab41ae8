// Flat buffers: where the views lie, and that autograd stays in them.
#include "lockstep/model/flat_parameters.h"

#include <gtest/gtest.h>

#include "lockstep/base/error.h"
#include "lockstep/model/initialisation.h"
#include "lockstep/model/network.h"

namespace lockstep {
namespace {

std::shared_ptr<Network> network(const std::string& name) {
  auto made = make_network(name, {});
  initialise_glorot_uniform(*made, 5);
  return made;
}

TEST(FlatParameters, ViewsAreAlignedDisjointAndInReverseOrder) {
  auto cnn = network("digits-cnn");
  const FlatParameters flat(cnn, at::kCPU);
  std::int64_t expected = 0;
  for (const auto& view : flat.views()) {
    EXPECT_EQ(view.offset, expected);
    EXPECT_EQ(view.offset % 16, 0);
    EXPECT_GE(view.padded, view.count);
    EXPECT_LT(view.padded, view.count + 16);
    expected += view.padded;
  }
  EXPECT_EQ(flat.size(), expected);
  EXPECT_EQ(flat.parameter_count(), 887'530);
  EXPECT_EQ(flat.views().front().name, "dense2.bias");
  EXPECT_EQ(flat.views().back().name, "conv1.weight");
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(flat.weights().data_ptr()) % 64, 0u);
}

TEST(FlatParameters, KeepTheValuesAndAreTheNetworksOwn) {
  auto reference = network("mlp");
  auto flattened = network("mlp");
  const FlatParameters flat(flattened, at::kCPU);
  for (const auto& item : reference->named_parameters()) {
    EXPECT_TRUE(at::equal(item.value(), flattened->named_parameters()[item.key()])) << item.key();
  }
  const at::NoGradGuard no_grad;
  flat.weights().fill_(2.0);
  EXPECT_TRUE(at::equal(flattened->parameters()[0], at::full({256, 784}, 2.0f)));
}

TEST(FlatParameters, BackwardAccumulatesIntoTheViews) {
  for (const NetworkEntry& entry : registered_networks()) {
    const std::string& name = entry.name;
    auto plain = network(name);
    auto flattened = network(name);
    FlatParameters flat(flattened, at::kCPU);
    const at::Tensor images = at::rand({3, 1, 28, 28});
    plain->forward(images, {}).square().sum().backward();
    for (int repeat = 0; repeat < 2; ++repeat) {
      flat.zero_gradients();
      flattened->forward(images, {}).square().sum().backward();
      flat.check_gradient_views();
    }
    double padding = 0;
    for (std::size_t i = 0; i < flat.views().size(); ++i) {
      const auto& view = flat.views()[i];
      const at::Tensor gradient =
          flat.gradients().narrow(0, view.offset, view.count).view(view.shape);
      EXPECT_TRUE(at::allclose(gradient, plain->named_parameters()[view.name].grad(), 1e-4, 1e-5))
          << name << " " << view.name;
      padding += flat.gradients()
                     .narrow(0, view.offset + view.count, view.padded - view.count)
                     .abs()
                     .sum()
                     .item<double>();
    }
    EXPECT_EQ(padding, 0.0);
  }
}

TEST(FlatParameters, NoticesAGradientThatLeftItsView) {
  auto mlp = network("mlp");
  FlatParameters flat(mlp, at::kCPU);
  mlp->parameters()[0].mutable_grad() = at::zeros({256, 784});
  EXPECT_THROW(flat.check_gradient_views(), Error);
}

TEST(FlatParameters, RefusesOtherTypes) {
  auto mlp = make_network("mlp", {});
  mlp->to(at::kDouble);
  EXPECT_THROW(FlatParameters(mlp, at::kCPU), Error);
}

}  // namespace
}  // namespace lockstep
