// Dropout on a GPU draws the masks of the host, bit for bit: only in a build with CUDA, on a
// machine with a GPU.
#include <ATen/Context.h>
#include <gtest/gtest.h>

#include <vector>

#include "lockstep/model/dropout.h"

namespace lockstep {
namespace {

// Among them keys that need more than 32 bits, of which the counter takes the low 48.
const std::vector<std::int64_t> kSamples{0, 1, 59'999, 70'000, 0x1'0000'0001, 0xffff'ffff'ffff};

const std::vector<std::vector<std::int64_t>> kShapes{
    {6, 1},       {6, 7},          {6, 8},        {6, 9},       {6, 256},
    {6, 1, 5, 3}, {6, 32, 14, 14}, {6, 64, 7, 7}, {6, 5, 1, 1},
};

class DeviceDropout : public testing::Test {
 protected:
  void SetUp() override {
    if (!at::globalContext().hasCUDA()) GTEST_SKIP() << "no GPU on this machine";
  }
  static StepContext context(std::uint64_t seed, std::uint32_t epoch, at::Device device) {
    return {.training = true,
            .seed = seed,
            .epoch = epoch,
            .samples = at::tensor(kSamples, at::kLong).to(device)};
  }
};

TEST_F(DeviceDropout, GivesTheMasksOfTheHost) {
  for (const auto& shape : kShapes) {
    const at::Tensor x = at::ones(shape);
    for (const double p : {0.0, 0.25, 0.5, 0.9}) {
      for (const std::uint64_t seed : {std::uint64_t{1}, std::uint64_t{0xfedc'ba98'7654'3210}}) {
        for (const int layer : {0, 1, 255}) {
          const auto number = static_cast<std::uint8_t>(layer);
          const auto epoch = static_cast<std::uint32_t>(layer + 1);
          const at::Tensor host = dropout(x, p, context(seed, epoch, at::kCPU), number);
          const at::Tensor device = dropout(x.cuda(), p, context(seed, epoch, at::kCUDA), number);
          ASSERT_TRUE(at::equal(device.cpu(), host))
              << "shape " << x.sizes() << ", p " << p << ", seed " << seed << ", layer " << layer;
        }
      }
    }
  }
}

TEST_F(DeviceDropout, DoesNotDependOnTheMemoryFormat) {
  const at::Tensor x = at::rand({6, 32, 14, 14}).cuda();
  const StepContext on_device = context(1, 1, at::kCUDA);
  EXPECT_TRUE(at::equal(dropout(x, 0.25, on_device, 0),
                        dropout(x.contiguous(at::MemoryFormat::ChannelsLast), 0.25, on_device, 0)));
}

TEST_F(DeviceDropout, MasksTheGradientLikeTheHost) {
  for (const auto& shape : kShapes) {
    const at::Tensor weights = at::rand(shape);
    const auto gradient = [&](at::Device device) {
      const at::Tensor x = at::ones(shape).to(device).requires_grad_();
      (dropout(x, 0.5, context(1, 1, device), 3) * weights.to(device)).sum().backward();
      return x.grad().cpu();
    };
    // p = 1/2 scales by 2, which rounds nowhere.
    EXPECT_TRUE(at::equal(gradient(at::kCUDA), gradient(at::kCPU))) << weights.sizes();
  }
}

}  // namespace
}  // namespace lockstep
