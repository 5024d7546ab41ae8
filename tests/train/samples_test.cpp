#include "lockstep/train/samples.h"

#include <ATen/Parallel.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <numeric>
#include <set>

#include "lockstep/base/error.h"

namespace lockstep {
namespace {

TEST(TensorSamples, GivesTheRowsThatAreAskedFor) {
  const at::Tensor inputs = at::arange(24, at::kLong).view({4, 2, 3});
  const at::Tensor targets = at::arange(4, at::kFloat);
  const TensorSamples samples(inputs.transpose(1, 2), targets, "here");
  EXPECT_EQ(samples.size(), 4);
  EXPECT_EQ(samples.inputs(), (SampleTensor{.shape = {3, 2}, .type = at::kLong}));
  EXPECT_EQ(samples.targets(), SampleTensor{});
  const std::vector<std::uint32_t> wanted{3, 0, 3};
  const at::Tensor in = empty_samples(samples.inputs(), 3);
  const at::Tensor out = empty_samples(samples.targets(), 3);
  samples.read(wanted, TrainingPass{}, in, out);
  EXPECT_TRUE(at::equal(in[1], inputs[0].t()));
  EXPECT_TRUE(at::equal(in[2], inputs[3].t()));
  EXPECT_EQ(out[0].item<float>(), 3.0f);
  samples.read(wanted, std::nullopt, {}, out);  // inputs are not wanted
  const std::vector<std::uint32_t> beyond{4};
  EXPECT_THROW(samples.read(beyond, std::nullopt, in.narrow(0, 0, 1), {}), Error);
}

TEST(TensorSamples, EveryBitTypeAndShapeCountsInTheDigest) {
  const at::Tensor x = at::ones({4, 6});
  const at::Tensor y = at::zeros({4});
  at::Tensor other = x.clone();
  other[3][5] = 1.0000001f;
  std::set<std::string> digests;
  for (const auto& [inputs, targets] :
       {std::pair(x, y), std::pair(other, y), std::pair(x.view({4, 2, 3}), y),
        std::pair(x, y.to(at::kInt)), std::pair(x, y + 1)}) {
    digests.insert(TensorSamples(inputs, targets, "a").sha256());
  }
  EXPECT_EQ(digests.size(), 5u);
  EXPECT_EQ(TensorSamples(x, y, "a").sha256(), TensorSamples(x.clone(), y, "b").sha256());
}

TEST(TensorSamples, RefusesUnequalCounts) {
  EXPECT_THROW(TensorSamples(at::ones({3, 2}), at::ones({2}), "a"), Error);
  EXPECT_THROW(TensorSamples(at::ones({0, 2}), at::ones({0}), "a"), Error);
  EXPECT_THROW(TensorSamples(at::ones({}), at::ones({}), "a"), Error);
}

TEST(ImageSamples, VariesOnlyWhatATrainingReads) {
  Dataset data;
  data.count = 5;
  data.channels = 1;
  data.height = data.width = 8;
  data.pixels.resize(5 * 64);
  std::iota(data.pixels.begin(), data.pixels.end(), std::uint8_t{0});
  data.labels = {3, 1, 4, 1, 5};
  const ImageSamples samples(std::make_shared<const Dataset>(data), AugmentationOptions{});
  const std::vector<std::uint32_t> wanted{2, 4};
  const auto read = [&](std::optional<TrainingPass> pass) {
    const at::Tensor inputs = empty_samples(samples.inputs(), 2);
    const at::Tensor labels = empty_samples(samples.targets(), 2);
    samples.read(wanted, pass, inputs, labels);
    EXPECT_EQ(labels[0].item<std::int64_t>(), 4);
    EXPECT_EQ(labels[1].item<std::int64_t>(), 5);
    return inputs;
  };
  const at::Tensor plain = read(std::nullopt);
  EXPECT_EQ(plain[0][0][0][1].item<float>(), 129.0f / 255.0f);
  const at::Tensor first = read(TrainingPass{.seed = 1, .epoch = 0});
  EXPECT_FALSE(at::equal(plain, first));
  EXPECT_TRUE(at::equal(first, read(TrainingPass{.seed = 1, .epoch = 0})));
  EXPECT_FALSE(at::equal(first, read(TrainingPass{.seed = 1, .epoch = 1})));
  EXPECT_FALSE(at::equal(first, read(TrainingPass{.seed = 2, .epoch = 0})));
  EXPECT_TRUE(samples.images() != nullptr && samples.sha256() == data.sha256());
}

TEST(ImageSamples, BitsDoNotDependOnThreads) {
  Dataset data;
  data.count = 100;
  data.channels = 2;
  data.height = 9;
  data.width = 7;
  data.pixels.resize(100 * 126);
  for (std::size_t i = 0; i < data.pixels.size(); ++i) {
    data.pixels[i] = static_cast<std::uint8_t>(i * i / 7);
  }
  data.labels.resize(100);
  std::iota(data.labels.begin(), data.labels.end(), std::uint8_t{0});
  const ImageSamples samples(std::make_shared<const Dataset>(data), AugmentationOptions{});
  std::vector<std::uint32_t> wanted(83);
  for (std::uint32_t i = 0; i < 83; ++i) wanted[i] = i * 17 % 100;
  const int before = at::get_num_threads();
  std::vector<at::Tensor> inputs;
  std::vector<at::Tensor> labels;
  for (const int threads : {1, 3, 4}) {
    at::set_num_threads(threads);
    inputs.push_back(empty_samples(samples.inputs(), 83).fill_(-1));
    labels.push_back(empty_samples(samples.targets(), 83).fill_(-1));
    samples.read(wanted, TrainingPass{.seed = 3, .epoch = 2}, inputs.back(), labels.back());
    EXPECT_TRUE(at::equal(inputs.back(), inputs.front())) << threads << " threads";
    EXPECT_TRUE(at::equal(labels.back(), labels.front())) << threads << " threads";
    EXPECT_EQ(labels.back()[82].item<std::int64_t>(), 82 * 17 % 100);
    // A sample that there is not is found by whichever thread makes it.
    wanted.back() = 100;
    EXPECT_THROW(samples.read(wanted, TrainingPass{}, inputs.back(), labels.back()), Error);
    wanted.back() = 82 * 17 % 100;
    samples.read(wanted, TrainingPass{.seed = 3, .epoch = 2}, inputs.back(), {});
    EXPECT_TRUE(at::equal(inputs.back(), inputs.front())) << threads << " threads";
  }
  at::set_num_threads(before);
}

}  // namespace
}  // namespace lockstep
