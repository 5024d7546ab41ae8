#include "lockstep/train/prediction.h"

#include <gtest/gtest.h>

#include <ATen/ops/empty.h>

#include <array>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

#include "lockstep/base/error.h"
#include "lockstep/model/network.h"

namespace lockstep {
namespace {

// Its logits are a function of an image's mean and of the class.
class Scripted : public Network {
 public:
  explicit Scripted(std::function<double(double mean, int label)> logit)
      : logit_(std::move(logit)) {}

  at::Tensor forward(const at::Tensor& images, const StepContext& context) override {
    EXPECT_FALSE(context.training);
    EXPECT_FALSE(is_training());
    const std::int64_t size = images.numel() / images.size(0);
    at::Tensor logits = at::empty({images.size(0), kClasses});
    const float* pixels = images.const_data_ptr<float>();
    auto* out = logits.mutable_data_ptr<float>();
    for (std::int64_t i = 0; i < images.size(0); ++i) {
      const double sum = std::accumulate(pixels + i * size, pixels + (i + 1) * size, 0.0);
      for (int label = 0; label < kClasses; ++label) {
        *out++ = static_cast<float>(logit_(sum / static_cast<double>(size), label));
      }
    }
    return logits;
  }

 private:
  std::function<double(double, int)> logit_;
};

Dataset images(std::vector<std::uint8_t> values) {
  Dataset dataset{.count = static_cast<std::int64_t>(values.size()),
                  .channels = 1,
                  .height = 4,
                  .width = 4,
                  .pixels = {},
                  .labels = {},
                  .source = "made"};
  // Light in the middle only, so that shifting changes the mean.
  for (const std::uint8_t value : values) {
    for (int i = 0; i < 16; ++i) dataset.pixels.push_back(i % 4 == 0 ? value : 0);
  }
  return dataset;
}

std::array<double, kClasses> softmax(const std::function<double(int)>& logit) {
  std::array<double, kClasses> p{};
  double sum = 0;
  for (int c = 0; c < kClasses; ++c) sum += p[static_cast<std::size_t>(c)] = std::exp(logit(c));
  for (double& v : p) v /= sum;
  return p;
}

TEST(Classifier, AveragesTheSoftmaxOfAllNetworks) {
  const auto one = std::make_shared<Scripted>([](double mean, int c) { return mean * c; });
  const auto two = std::make_shared<Scripted>([](double, int c) { return c == 3 ? 2.0 : 0.0; });
  Classifier classifier({one, two}, ComputeDevice{}, {});
  const std::vector<std::uint64_t> keys{0, 1};
  const std::vector<double> p = classifier.probabilities(images({0, 255}), keys);
  ASSERT_EQ(p.size(), 20u);
  for (std::size_t i = 0; i < 2; ++i) {
    const auto a = softmax([&](int c) { return 0.25 * static_cast<double>(i) * c; });
    const auto b = softmax([](int c) { return c == 3 ? 2.0 : 0.0; });
    for (std::size_t c = 0; c < kClasses; ++c) {
      EXPECT_NEAR(p[i * kClasses + c], (a[c] + b[c]) / 2, 1e-7);
    }
  }
  EXPECT_TRUE(classifier.probabilities(images({}), {}).empty());
  EXPECT_THROW(classifier.probabilities(images({1}), keys), Error);
}

TEST(Classifier, CopiesFollowFromSeedAndKeyAlone) {
  const auto network = std::make_shared<Scripted>([](double mean, int c) { return 9 * mean * c; });
  const AugmentationOptions shift{.rotation = 0, .zoom = 0, .shift_x = 0.5, .shift_y = 0};
  const auto of = [&](std::int64_t copies, std::uint64_t seed, std::vector<std::uint8_t> values,
                      std::vector<std::uint64_t> keys) {
    Classifier classifier({network}, ComputeDevice{},
                          {.augmented_copies = copies, .augmentation = shift, .seed = seed});
    return classifier.probabilities(images(std::move(values)), keys);
  };
  const auto plain = of(0, 1, {200}, {7});
  const auto three = of(3, 1, {200}, {7});
  EXPECT_NE(plain, three);
  EXPECT_NE(three, of(3, 2, {200}, {7}));
  EXPECT_NE(three, of(3, 1, {200}, {8}));
  // In another batch, at another place.
  const auto among = of(3, 1, {10, 200, 90}, {1, 7, 9});
  EXPECT_TRUE(std::equal(three.begin(), three.end(), among.begin() + kClasses));
  EXPECT_NEAR(std::accumulate(three.begin(), three.end(), 0.0), 1.0, 1e-12);
}

TEST(Classifier, NumbersThatAreNotFiniteShow) {
  for (const double wrong :
       {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    const auto broken = std::make_shared<Scripted>(
        [wrong](double mean, int c) { return mean > 0 && c == 4 ? wrong : 0.0; });
    Classifier classifier({broken}, ComputeDevice{}, {});
    const std::vector<std::uint64_t> keys{0, 1};
    const auto p = classifier.probabilities(images({0, 1}), keys);
    for (std::size_t c = 0; c < kClasses; ++c) {
      EXPECT_EQ(p[c], 0.1);
      EXPECT_TRUE(std::isnan(p[kClasses + c]));
    }
  }
}

}  // namespace
}  // namespace lockstep
