// What a GPU records: replays do the work again on what lies there then, and a recording that fails
// leaves nothing behind. Only in a build with CUDA, on a machine with a GPU.
#include <ATen/Context.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <ATen/ops/rand_like.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "device_fixture.h"
#include "lockstep/base/error.h"
#include "lockstep/model/recording.h"

namespace lockstep {
namespace {

class DeviceRecording : public DeviceTest {
 protected:
  void SetUp() override {
    DeviceTest::SetUp();
    if (IsSkipped()) return;
    const auto options = at::TensorOptions(at::kFloat).device(gpu_);
    x_ = at::arange(1000, options);
    sum_ = at::zeros({1}, options);
  }

  void add_squares() { sum_.add_((x_ * x_).sum()); }
  // Records, replays three times, and compares.
  void expect_it_works() {
    sum_.zero_();
    const std::unique_ptr<Recording> recording = record_on_gpu([this] { add_squares(); });
    EXPECT_EQ(sum_.item<float>(), 0);  // nothing has been carried out
    const double one = at::arange(1000, at::kDouble).square().sum().item<double>();
    recording->replay();
    EXPECT_NEAR(sum_.item<double>() / one, 1, 1e-6);
    x_.mul_(2);
    recording->replay();
    EXPECT_NEAR(sum_.item<double>() / one, 5, 1e-6);
    x_.div_(2);
  }

  at::Tensor x_, sum_;
};

TEST_F(DeviceRecording, ReplaysOnWhatLiesThereThen) {
  add_squares();  // libraries set themselves up
  expect_it_works();
}

TEST_F(DeviceRecording, AFailureLeavesNothingBehind) {
  add_squares();
  const std::vector<std::function<void()>> broken{
      [this] {
        add_squares();
        throw std::runtime_error("the network's own");
      },
      [this] {
        add_squares();
        sum_.item<float>();  // waits
      },
      [this] { sum_.add_(at::rand_like(sum_)); },
  };
  for (int round = 0; round < 2; ++round) {
    for (const auto& work : broken) {
      EXPECT_ANY_THROW(record_on_gpu(work));
      // Neither memory nor the stream is as in a recording: a wait, and a tensor that grows.
      at::Tensor large = at::full({1 << 20}, 1.0, x_.options());
      EXPECT_EQ((large + large).sum().item<float>(), 2 << 20);
      expect_it_works();
    }
  }
}

TEST_F(DeviceRecording, RefusesNumbersFromLibTorchsGenerator) {
  try {
    record_on_gpu([this] { sum_.add_(at::rand_like(sum_)); });
    ADD_FAILURE() << "recorded";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("generator"), std::string::npos) << error.what();
  }
  const at::Tensor drawn = at::rand_like(x_);  // as ever
  EXPECT_FALSE(at::equal(drawn, at::rand_like(x_)));
}

}  // namespace
}  // namespace lockstep
