#include "lockstep/train/objective.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "lockstep/base/error.h"

namespace lockstep {
namespace {

std::span<const float> values_of(const at::Tensor& rows) {
  return {rows.const_data_ptr<float>(), static_cast<std::size_t>(rows.numel())};
}

TEST(PerSample, SumsAndMeans) {
  const PerSample objective(
      [](const at::Tensor& out, const at::Tensor& y) { return (out.squeeze(1) - y).square(); },
      "mean_absolute_error",
      [](const at::Tensor& out, const at::Tensor& y) { return (out.squeeze(1) - y).abs(); });
  const at::Tensor out = at::tensor({1.0f, 2.0f, 3.0f}).view({3, 1});
  const at::Tensor y = at::tensor({0.0f, 4.0f, 3.5f});
  EXPECT_EQ(objective.loss_sum(out, y).item<float>(), 1 + 4 + 0.25f);
  EXPECT_EQ(objective.metric_sum(out, y).item<float>(), 1 + 2 + 0.5f);
  const at::Tensor rows = objective.evaluation_rows(out, y).contiguous();
  const Evaluation result = objective.summarise(values_of(rows), y);
  EXPECT_EQ(result.samples, 3);
  EXPECT_DOUBLE_EQ(result.loss, 5.25 / 3);
  EXPECT_DOUBLE_EQ(result.metric, 3.5 / 3);
  EXPECT_EQ(result.metric_name, "mean_absolute_error");
  EXPECT_TRUE(result.confusion.empty());
  EXPECT_EQ(objective.classes(), 0);
}

TEST(PerSample, WithoutAMetric) {
  const PerSample objective([](const at::Tensor& out, const at::Tensor&) { return out; });
  const at::Tensor out = at::ones({4});
  const at::Tensor rows = objective.evaluation_rows(out, out).contiguous();
  EXPECT_EQ(rows.size(1), 1);
  const Evaluation result = objective.summarise(values_of(rows), out);
  EXPECT_EQ(result.samples, 4);
  EXPECT_EQ(result.loss, 1);
  EXPECT_EQ(result.metric_name, "");
}

// [B, 1] - [B] would broadcast to [B, B], the usual mistake.
TEST(PerSample, RefusesWhatIsNotOneValueASample) {
  const PerSample objective(
      [](const at::Tensor& out, const at::Tensor& y) { return (out - y).square(); });
  try {
    objective.loss_sum(at::ones({3, 1}), at::ones({3}));
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(),
                 "the loss function gives [3,3] for 3 samples: expected one value a sample");
  }
}

TEST(Classification, NamesTheFirstLabelThatIsNone) {
  const Classification objective(4);
  const at::Tensor x = at::zeros({6, 2});
  at::Tensor labels = at::arange(6, at::kLong).remainder(4);
  EXPECT_NO_THROW(objective.require_targets(TensorSamples(x, labels, "here")));
  labels[5] = 4;
  try {
    objective.require_targets(TensorSamples(x, labels, "here"));
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kBadData);
    EXPECT_STREQ(error.what(), "here: sample 5 has label 4: expected 0 to 3");
  }
  EXPECT_THROW(objective.require_targets(TensorSamples(x, at::zeros({6}), "floats")), Error);
  for (const at::Tensor& wrong : {at::zeros({6, 5}), at::zeros({5, 4}), at::zeros({6, 4, 1})}) {
    EXPECT_THROW(objective.evaluation_rows(wrong, labels), Error);
    EXPECT_THROW(objective.loss_sum(wrong, labels), Error);
  }
  EXPECT_EQ(objective.evaluation_rows(at::zeros({6, 4}, at::kDouble), labels).scalar_type(),
            at::kFloat);
  EXPECT_THROW(Classification(1), Error);
  EXPECT_THROW(Classification(257), Error);
}

}  // namespace
}  // namespace lockstep
