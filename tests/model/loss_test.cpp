#include "lockstep/model/loss.h"

#include <gtest/gtest.h>

#include <ATen/ATen.h>

#include <cmath>

namespace lockstep {
namespace {

TEST(Loss, IsTheCrossEntropyOfSmoothedLabels) {
  const at::Tensor logits = at::randn({6, 10}).mul(3);
  const at::Tensor labels = at::randint(10, {6}, at::kLong);
  for (const double smoothing : {0.0, 0.1, 0.5}) {
    double expected = 0;
    for (std::int64_t i = 0; i < 6; ++i) {
      double sum = 0;
      for (std::int64_t k = 0; k < 10; ++k) sum += std::exp(logits[i][k].item<double>());
      for (std::int64_t k = 0; k < 10; ++k) {
        const double target =
            (k == labels[i].item<std::int64_t>() ? 1 - smoothing : 0) + smoothing / 10;
        expected -= target * (logits[i][k].item<double>() - std::log(sum));
      }
    }
    EXPECT_NEAR(cross_entropy_sum(logits, labels, smoothing).item<double>(), expected, 1e-4);
  }
}

}  // namespace
}  // namespace lockstep
