// Device optimizers against the host's, bit for bit: only in a build with CUDA, on a machine with a
// GPU.
#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "lockstep/base/random.h"
#include "lockstep/optim/clipping.h"
#include "lockstep/optim/device_inspection.h"
#include "lockstep/optim/optimizer.h"

namespace lockstep {
namespace {

/// n floats of device memory that start as `values`.
class DeviceFloats {
 public:
  explicit DeviceFloats(const std::vector<float>& values) : n_(values.size()) {
    EXPECT_EQ(cudaMalloc(reinterpret_cast<void**>(&data_), n_ * sizeof(float)), cudaSuccess);
    set(values);
  }
  ~DeviceFloats() { cudaFree(data_); }
  DeviceFloats(const DeviceFloats&) = delete;
  DeviceFloats& operator=(const DeviceFloats&) = delete;
  float* get() { return data_; }
  void set(const std::vector<float>& values) {
    EXPECT_EQ(cudaMemcpy(data_, values.data(), n_ * sizeof(float), cudaMemcpyHostToDevice),
              cudaSuccess);
  }

 private:
  std::size_t n_;
  float* data_ = nullptr;
};

std::vector<float> to_host(const float* device, std::size_t n) {
  std::vector<float> values(n);
  EXPECT_EQ(cudaMemcpy(values.data(), device, n * sizeof(float), cudaMemcpyDeviceToHost),
            cudaSuccess);
  return values;
}

std::vector<float> draw(std::size_t n, std::uint32_t stream) {
  std::vector<float> values(n);
  for (std::size_t i = 0; i < n; ++i) {
    const auto words = random_words({.seed = 7, .epoch = stream, .sample = i}, 0);
    const double size = std::pow(1e-8, uniform_float(words[0]));
    values[i] = static_cast<float>(words[1] % 2 == 0 ? size : -size);
  }
  return values;
}

class DeviceTest : public testing::Test {
 protected:
  void SetUp() override {
    int devices = 0;
    if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
      GTEST_SKIP() << "no GPU on this machine";
    }
    ASSERT_EQ(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), cudaSuccess);
  }
  void TearDown() override {
    if (stream_ != nullptr) cudaStreamDestroy(stream_);
  }
  void synchronize() { ASSERT_EQ(cudaStreamSynchronize(stream_), cudaSuccess); }
  cudaStream_t stream_ = nullptr;
};

TEST_F(DeviceTest, OptimizersGiveTheBitsOfTheHost) {
  const std::vector<OptimizerOptions> all{
      {},
      {.momentum = 0.9, .weight_decay = 0.01},
      {.name = "sgd", .weight_decay = 0.1},
      {.name = "sgd", .momentum = 0.9},
      {.name = "sgd", .momentum = 0.9, .nesterov = true},
      {.name = "adamw", .weight_decay = 0.1},
  };
  for (const auto& options : all) {
    // The last is larger than all threads of the largest grid together.
    for (const std::size_t n : {std::size_t{1}, std::size_t{1000}, std::size_t{1'100'000}}) {
      auto weights = draw(n, 0);
      DeviceFloats device_weights(weights);
      DeviceFloats device_gradients(weights);
      const auto host = make_optimizer(options, n);
      const auto device = make_device_optimizer(options, n, stream_);
      for (std::uint32_t t = 1; t <= 3; ++t) {
        const auto gradients = draw(n, t);
        device_gradients.set(gradients);
        host->step(weights.data(), gradients.data(), 1e-3);
        device->step(device_weights.get(), device_gradients.get(), 1e-3);
        synchronize();
      }
      EXPECT_EQ(to_host(device_weights.get(), n), weights) << options.name << " " << n;
      const auto expected = host->state();
      const auto found = device->state();
      ASSERT_EQ(found.size(), expected.size());
      for (std::size_t i = 0; i < expected.size(); ++i) {
        EXPECT_EQ(found[i].prefix, expected[i].prefix);
        EXPECT_EQ(to_host(found[i].values, n),
                  std::vector<float>(expected[i].values, expected[i].values + n))
            << options.name << " " << n << " " << found[i].prefix;
      }
    }
  }
}

TEST_F(DeviceTest, AverageGivesTheBitsOfTheHost) {
  const auto weights = draw(1000, 1);
  auto average = draw(1000, 2);
  DeviceFloats device_weights(weights);
  DeviceFloats device_average(average);
  update_average(average.data(), weights.data(), average.size(), 0.99);
  update_average_on_device(device_average.get(), device_weights.get(), average.size(), 0.99,
                           stream_);
  synchronize();
  EXPECT_EQ(to_host(device_average.get(), average.size()), average);
}

TEST_F(DeviceTest, ClippingGivesTheBitsOfTheHost) {
  for (const std::size_t n : {std::size_t{0}, std::size_t{1}, std::size_t{63}, std::size_t{2048},
                              std::size_t{2049}, std::size_t{1'100'000}}) {
    auto gradient = draw(n, 3);
    DeviceFloats device(gradient);
    const double norm = l2_norm(gradient.data(), n);
    EXPECT_EQ(l2_norm_on_device(device.get(), n, stream_), norm) << n;
    for (const double limit : {norm + 1, norm / 3}) {
      if (limit == 0) continue;
      EXPECT_EQ(clip_by_norm(gradient.data(), n, limit), norm);
      EXPECT_EQ(clip_by_norm_on_device(device.get(), n, limit, stream_), norm);
      synchronize();
      EXPECT_EQ(to_host(device.get(), n), gradient) << n << " " << limit;
    }
  }
}

TEST_F(DeviceTest, AllFiniteFindsOneBadValueAnywhere) {
  EXPECT_TRUE(all_finite_on_device(nullptr, 0, stream_));
  constexpr std::size_t kElements = 1'100'000;
  std::vector<float> values(kElements, std::numeric_limits<float>::max());
  for (const std::size_t bad : {std::size_t{0}, kElements / 2, kElements - 1}) {
    for (const float value :
         {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
      DeviceFloats device(values);
      EXPECT_TRUE(all_finite_on_device(device.get(), kElements, stream_));
      const float good = std::exchange(values[bad], value);
      device.set(values);
      EXPECT_FALSE(all_finite_on_device(device.get(), kElements, stream_)) << bad;
      values[bad] = good;
    }
  }
}

TEST_F(DeviceTest, AnInspectionFindsTheSameAndBringsItsWords) {
  constexpr std::size_t kElements = 1'100'000;
  constexpr std::size_t kWords = 3;
  std::vector<float> values(kElements, 1);
  values[kElements - 2] = 2.5;
  DeviceFloats device(values);
  DeviceInspection inspection(kWords, stream_);
  const float* words = device.get() + kElements - kWords;
  for (const float value : {1.0f, std::numeric_limits<float>::infinity(),
                            std::numeric_limits<float>::quiet_NaN(), 3.0f}) {
    values[7] = value;
    device.set(values);
    inspection.queue(device.get(), kElements, words);
    const DeviceInspection::Result result = inspection.wait();
    EXPECT_EQ(result.finite, std::isfinite(value)) << value;
    EXPECT_EQ(std::vector<float>(result.words, result.words + kWords),
              (std::vector<float>{1, 2.5, 1}));
  }
  inspection.queue(nullptr, 0, words);
  EXPECT_TRUE(inspection.wait().finite);
}

}  // namespace
}  // namespace lockstep
