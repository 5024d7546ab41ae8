// The networks on a GPU, under the settings training uses: near the host's numbers, and the same
// bits twice. Only in a build with CUDA, on a machine with a GPU.
#include <ATen/Context.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "lockstep/model/compute_device.h"
#include "lockstep/model/flat_parameters.h"
#include "lockstep/model/initialisation.h"
#include "lockstep/model/loss.h"
#include "lockstep/model/network.h"

namespace lockstep {
namespace {

constexpr std::int64_t kBatch = 86;

class DeviceNetwork : public testing::Test {
 protected:
  // Once: LibTorch takes its numbers of threads only once.
  static void SetUpTestSuite() {
    if (!at::globalContext().hasCUDA()) return;
    gpu_ = prepare_compute_device({}, /*local_size=*/1, /*gpu=*/0).device;
  }
  void SetUp() override {
    if (!at::globalContext().hasCUDA()) GTEST_SKIP() << "no GPU on this machine";
  }

  struct Result {
    at::Tensor logits, gradients;
  };
  // One step of training: forward with dropout, loss, backward, all on the host afterwards.
  static Result step(const std::string& name, at::Device device) {
    auto network = make_network(name, {});
    initialise_glorot_uniform(*network, 1);
    FlatParameters parameters(network, device);
    network->train();
    const at::Tensor samples = at::arange(kBatch, at::kLong);
    // A smooth picture for each sample, the same everywhere.
    const at::Tensor pixels = at::arange(28 * 28, at::kFloat).view({1, 1, 28, 28});
    const at::Tensor images =
        (pixels * (samples + 1).view({-1, 1, 1, 1})).mul(0.01).sin().add(1).div(2);
    const StepContext context{
        .training = true, .seed = 1, .epoch = 0, .samples = samples.to(device)};
    const at::Tensor logits = network->forward(images.to(device), context);
    const at::Tensor labels = samples.remainder(10).to(device);
    (cross_entropy_sum(logits, labels, /*smoothing=*/0.1) / static_cast<double>(kBatch)).backward();
    parameters.check_gradient_views();
    return {logits.detach().cpu(), parameters.gradients().cpu()};
  }

  static double relative_distance(const at::Tensor& a, const at::Tensor& b) {
    return ((a - b).norm() / b.norm()).item<double>();
  }

  static inline at::Device gpu_{at::kCPU};
};

TEST_F(DeviceNetwork, ComputesNearlyWhatTheHostComputes) {
  for (const NetworkEntry& entry : registered_networks()) {
    const Result host = step(entry.name, at::kCPU);
    const Result device = step(entry.name, gpu_);
    // TF32, with its 10 bits, would be off by about 1e-3.
    EXPECT_LT(relative_distance(device.logits, host.logits), 2e-5) << entry.name;
    EXPECT_LT(relative_distance(device.gradients, host.gradients), 3e-4) << entry.name;
  }
}

TEST_F(DeviceNetwork, GivesTheSameBitsTwice) {
  for (const NetworkEntry& entry : registered_networks()) {
    const Result first = step(entry.name, gpu_);
    for (int again = 0; again < 5; ++again) {
      const Result next = step(entry.name, gpu_);
      EXPECT_TRUE(at::equal(next.logits, first.logits)) << entry.name;
      EXPECT_TRUE(at::equal(next.gradients, first.gradients)) << entry.name;
    }
  }
}

}  // namespace
}  // namespace lockstep
