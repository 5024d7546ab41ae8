// The networks on a GPU, under the settings training uses: near the host's numbers, and the same
// bits twice. Only in a build with CUDA, on a machine with a GPU.
#include <ATen/Context.h>
#include <ATen/ops/max_pool2d.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/relu.h>
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "device_fixture.h"
#include "lockstep/model/dropout.h"
#include "lockstep/model/flat_parameters.h"
#include "lockstep/model/initialisation.h"
#include "lockstep/model/loss.h"
#include "lockstep/model/network.h"
#include "model/fast_convolution.h"

namespace lockstep {
namespace {

constexpr std::int64_t kBatch = 86;

class DeviceNetwork : public DeviceTest {
 protected:
  struct Result {
    at::Tensor logits, gradients;
  };
  // One step of training on samples first .. first + count: forward with dropout, loss, backward,
  // all on the host afterwards.
  static Result step(const std::string& name, at::Device device, std::int64_t first,
                     std::int64_t count) {
    auto network = make_network(name, {});
    initialise_glorot_uniform(*network, 1);
    FlatParameters parameters(network, device);
    network->train();
    const at::Tensor samples = at::arange(first, first + count, at::kLong);
    // A smooth picture for each sample, the same everywhere.
    const at::Tensor pixels = at::arange(28 * 28, at::kFloat).view({1, 1, 28, 28});
    const at::Tensor images =
        (pixels * (samples + 1).view({-1, 1, 1, 1})).mul(0.01).sin().add(1).div(2);
    const StepContext context{
        .training = true, .seed = 1, .epoch = 0, .samples = samples.to(device)};
    const at::Tensor logits = network->forward(images.to(device), context);
    const at::Tensor labels = samples.remainder(10).to(device);
    (cross_entropy_sum(logits, labels, /*smoothing=*/0.1) / static_cast<double>(count)).backward();
    parameters.check_gradient_views();
    return {logits.detach().cpu(), parameters.gradients().cpu()};
  }

  static double relative_distance(const at::Tensor& a, const at::Tensor& b) {
    return ((a - b).norm() / b.norm()).item<double>();
  }
};

// Where an activation is nearly zero, or two that are pooled nearly equal, rounding decides which
// way a gradient goes, and moves the whole gradient by up to several per cent: that strikes few of
// several small batches (of the host's own convolutions, fast and direct, one or two in eleven), so
// not their median, as an error would.
TEST_F(DeviceNetwork, ComputesNearlyWhatTheHostComputes) {
  constexpr int kBatches = 11;
  constexpr std::int64_t kSmall = 8;
  for (const NetworkEntry& entry : registered_networks()) {
    const Result whole_host = step(entry.name, at::kCPU, 0, kBatch);
    const Result whole = step(entry.name, gpu_, 0, kBatch);
    EXPECT_LT(relative_distance(whole.logits, whole_host.logits), 2e-5) << entry.name;
    EXPECT_LT(relative_distance(whole.gradients, whole_host.gradients), 3e-2) << entry.name;
    std::vector<double> distances;
    for (std::int64_t batch = 0; batch < kBatches; ++batch) {
      const Result host = step(entry.name, at::kCPU, batch * kSmall, kSmall);
      const Result device = step(entry.name, gpu_, batch * kSmall, kSmall);
      EXPECT_LT(relative_distance(device.logits, host.logits), 5e-5) << entry.name;
      distances.push_back(relative_distance(device.gradients, host.gradients));
    }
    std::ranges::sort(distances);
    // TF32, with its 10 bits, would be off by about 1e-3.
    EXPECT_LT(distances[kBatches / 2], 2e-4) << entry.name;
    RecordProperty(entry.name + " gradients", fmt::format("{:.1e}", distances[kBatches / 2]));
  }
}

TEST_F(DeviceNetwork, GivesTheSameBitsTwice) {
  for (const NetworkEntry& entry : registered_networks()) {
    const Result first = step(entry.name, gpu_, 0, kBatch);
    for (int again = 0; again < 5; ++again) {
      const Result next = step(entry.name, gpu_, 0, kBatch);
      EXPECT_TRUE(at::equal(next.logits, first.logits)) << entry.name;
      EXPECT_TRUE(at::equal(next.gradients, first.gradients)) << entry.name;
    }
  }
}

// One pass behind a convolution gives the bits of LibTorch's operators one after the other, but for
// the order of the bias gradient's sum.
TEST_F(DeviceNetwork, AConvolutionsEpilogueChangesNoBits) {
  for (const auto& [height, width] : {std::pair(28, 28), std::pair(9, 6), std::pair(7, 5)}) {
    for (const bool pool : {false, true}) {
      for (const double p : {0.0, 0.25}) {
        if (p > 0 && !pool) continue;
        const auto run = [&](bool fused) {
          at::Generator generator = at::globalContext().defaultGenerator(at::kCPU);
          generator.set_current_seed(1);
          torch::nn::Conv2d layer = same_convolution(8, 32, 5);
          const at::Tensor images = at::randn({86, 8, height, width});
          layer->to(gpu_);
          const at::Tensor x = images.to(gpu_).requires_grad_();
          const StepContext context{
              .training = true, .seed = 1, .samples = at::arange(86, at::kLong).to(gpu_)};
          at::Tensor y;
          if (fused && !pool) {
            y = Convolutions("auto").relu(layer, x);
          } else if (fused) {
            y = p > 0 ? Convolutions("auto").relu_pool_dropout(layer, x, p, context, 0)
                      : Convolutions("auto").relu_pool(layer, x);
          } else {
            y = at::relu(layer->forward(x));
            if (pool) y = at::max_pool2d(y, 2);
            if (p > 0) y = dropout(y, p, context, 0);
          }
          const at::Tensor weights =
              at::arange(y.numel(), at::TensorOptions(at::kFloat).device(gpu_))
                  .sin()
                  .view(y.sizes());
          (y * weights).sum().backward();
          return std::vector{y.detach(), x.grad(), layer->weight.grad(), layer->bias.grad()};
        };
        const auto expected = run(false), fused = run(true);
        const std::string what = fmt::format("{}x{}, pool {}, p {}", height, width, pool, p);
        EXPECT_TRUE(at::equal(fused[0], expected[0])) << what;
        EXPECT_TRUE(at::equal(fused[1], expected[1])) << what;
        EXPECT_TRUE(at::equal(fused[2], expected[2])) << what;
        EXPECT_LT(relative_distance(fused[3], expected[3]), 1e-5) << what;
      }
    }
  }
}

}  // namespace
}  // namespace lockstep
