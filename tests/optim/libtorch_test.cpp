// Our optimizers against LibTorch's, with the options under which their formulas agree.
#include <gtest/gtest.h>
#include <torch/nn/utils/clip_grad.h>
#include <torch/optim/adamw.h>
#include <torch/optim/rmsprop.h>
#include <torch/optim/sgd.h>

#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "lockstep/optim/clipping.h"
#include "lockstep/optim/optimizer.h"

namespace lockstep {
namespace {

using MakePeer =
    std::function<std::unique_ptr<torch::optim::Optimizer>(std::vector<torch::Tensor>)>;

struct Case {
  std::string label;
  OptimizerOptions options;
  double learning_rate;
  MakePeer make_peer;
};

void PrintTo(const Case& item, std::ostream* out) { *out << item.label; }

std::vector<Case> cases() {
  namespace to = torch::optim;
  const auto peer = [](auto make) { return MakePeer(make); };
  using Parameters = std::vector<torch::Tensor>;
  return {
      {"rmsprop", {}, 1e-3, peer([](Parameters p) {
         return std::make_unique<to::RMSprop>(p, to::RMSpropOptions(1e-3).alpha(0.9).eps(1e-8));
       })},
      {"rmsprop_momentum",
       {.rho = 0.95, .epsilon = 1e-6, .momentum = 0.9, .weight_decay = 0.01},
       1e-3,
       peer([](Parameters p) {
         return std::make_unique<to::RMSprop>(
             p, to::RMSpropOptions(1e-3).alpha(0.95).eps(1e-6).momentum(0.9).weight_decay(0.01));
       })},
      {"sgd", {.name = "sgd", .weight_decay = 0.1}, 0.05, peer([](Parameters p) {
         return std::make_unique<to::SGD>(p, to::SGDOptions(0.05).weight_decay(0.1));
       })},
      {"sgd_momentum", {.name = "sgd", .momentum = 0.9}, 0.02, peer([](Parameters p) {
         return std::make_unique<to::SGD>(p, to::SGDOptions(0.02).momentum(0.9));
       })},
      {"sgd_nesterov",
       {.name = "sgd", .momentum = 0.8, .nesterov = true, .weight_decay = 0.01},
       0.02,
       peer([](Parameters p) {
         return std::make_unique<to::SGD>(
             p, to::SGDOptions(0.02).momentum(0.8).nesterov(true).weight_decay(0.01));
       })},
      {"adamw",
       {.name = "adamw", .epsilon = 1e-6, .weight_decay = 0.1, .beta1 = 0.8, .beta2 = 0.99},
       0.01,
       peer([](Parameters p) {
         return std::make_unique<to::AdamW>(
             p, to::AdamWOptions(0.01).eps(1e-6).weight_decay(0.1).betas({0.8, 0.99}));
       })},
  };
}

class PeerTest : public testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(All, PeerTest, testing::ValuesIn(cases()),
                         [](const auto& info) { return info.param.label; });

TEST_P(PeerTest, AgreesOver100Steps) {
  constexpr std::int64_t kElements = 300;
  torch::manual_seed(11);
  const auto theirs = torch::randn({kElements}).requires_grad_(true);
  const auto ours = theirs.detach().clone();
  const auto peer = GetParam().make_peer({theirs});
  const auto optimizer = make_optimizer(GetParam().options, kElements);
  for (int t = 0; t < 100; ++t) {
    const auto gradients = torch::randn({kElements});
    theirs.mutable_grad() = gradients.clone();
    peer->step();
    optimizer->step(ours.data_ptr<float>(), gradients.data_ptr<float>(), GetParam().learning_rate);
  }
  const auto difference = (ours - theirs.detach()).abs() / (1 + theirs.detach().abs());
  EXPECT_LT(difference.max().item<float>(), 2e-6f);
}

TEST(ClippingTest, AgreesWithClipGradNorm) {
  torch::manual_seed(4);
  for (const double limit : {0.1, 1.0, 100.0}) {
    torch::Tensor parameter = torch::zeros({3000});
    parameter.mutable_grad() = torch::randn({3000}) * 0.05;
    torch::Tensor own = parameter.grad().clone();
    const double norm = torch::nn::utils::clip_grad_norm_(parameter, limit);
    EXPECT_NEAR(clip_by_norm(own.data_ptr<float>(), 3000, limit) / norm, 1.0, 1e-5);
    EXPECT_TRUE(torch::allclose(own, parameter.grad(), 1e-5, 0)) << limit;
  }
}

}  // namespace
}  // namespace lockstep
