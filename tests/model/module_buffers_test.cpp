#include "lockstep/model/module_buffers.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>
#include <torch/nn/modules/batchnorm.h>

#include <limits>
#include <map>
#include <string>

#include "lockstep/base/error.h"

namespace lockstep {
namespace {

struct Several : torch::nn::Module {
  at::Tensor mean = register_buffer("mean", at::tensor({1.0f, 2.0f, 3.0f}));
  // Nobody writes to it: an infinity, as in a mask, and a zero that has a sign.
  at::Tensor constant = register_buffer(
      "constant", at::tensor({0.1f, -0.0f, -std::numeric_limits<float>::infinity(), 0.0f}));
  at::Tensor count = register_buffer("count", at::tensor({std::int64_t{1} << 40}));
  at::Tensor seen = register_buffer("seen", at::zeros({3}, at::kBool));
};

std::map<std::string, at::Tensor> by_name(const ModuleBuffers& buffers) {
  std::map<std::string, at::Tensor> all;
  for (const auto& [name, value] : buffers.named()) all[name] = value.clone();
  return all;
}

TEST(ModuleBuffers, AddUpWhatShardsChange) {
  Several module;
  ModuleBuffers buffers(module);
  const at::Tensor changes = at::zeros({buffers.change_count()});
  ASSERT_EQ(changes.numel(), 3 + 4 + 1 + 3);
  const double shares[] = {0.5, 0.375, 0.125};
  const float added[] = {8.0f, 16.0f, 32.0f};
  for (int shard = 0; shard < 3; ++shard) {
    EXPECT_EQ(module.mean[1].item<float>(), 2.0f) << "each shard begins with the same values";
    module.mean.add_(added[shard]);
    module.count.add_(1);
    module.seen[shard].fill_(true);
    buffers.take_changes(changes, shares[shard], shard == 0);
    buffers.restore();
  }
  buffers.apply(changes);
  const auto values = by_name(buffers);
  // 8 / 2 + 16 * 3 / 8 + 32 / 8
  EXPECT_TRUE(at::equal(module.mean, at::tensor({15.0f, 16.0f, 17.0f})));
  EXPECT_TRUE(at::equal(module.constant.view(at::kInt), Several().constant.view(at::kInt)))
      << "not a bit of it";
  EXPECT_EQ(module.count.item<std::int64_t>(), (std::int64_t{1} << 40) + 1);
  EXPECT_TRUE(at::equal(module.seen.to(at::kLong), at::tensor({1, 0, 0}, at::kLong)));
  EXPECT_TRUE(at::equal(values.at("mean"), module.mean));
  EXPECT_TRUE(at::equal(values.at("count"), module.count));
}

TEST(ModuleBuffers, BitsOfAllValuesTravelAsFloats) {
  Several module;
  ModuleBuffers buffers(module);
  module.mean.copy_(at::rand({3}));
  module.count.fill_(-7);
  const at::Tensor changes = at::zeros({buffers.change_count()});
  buffers.take_changes(changes, 1.0, true);
  EXPECT_THROW(buffers.apply(changes), Error) << "2^40 + 7 is no float32";
  buffers.restore();

  Several other;
  ModuleBuffers others(other);
  other.seen.fill_(true);
  others.take_changes(changes.zero_(), 1.0, true);
  others.apply(changes);
  buffers.values().copy_(others.values());
  buffers.restore();
  EXPECT_TRUE(at::equal(module.seen, other.seen));
  for (const FlatView& view : buffers.views()) {
    EXPECT_EQ(view.offset % 16, 0) << view.name << " is not on 64 bytes";
    EXPECT_LE(view.offset + view.padded, buffers.values().numel());
  }
}

TEST(ModuleBuffers, BatchNormalisationsAreAllSupported) {
  const torch::nn::BatchNorm2d norm(4);
  const ModuleBuffers buffers(*norm);
  EXPECT_EQ(buffers.change_count(), 4 + 4 + 1);
  EXPECT_EQ(buffers.named()[0].name, "running_mean");
}

TEST(ModuleBuffers, NamesOneItCannotKeep) {
  struct Double : torch::nn::Module {
    Double() { register_buffer("table", at::zeros({2}, at::kDouble)); }
  };
  try {
    const Double module;
    const ModuleBuffers buffers(module);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    EXPECT_STREQ(
        error.what(),
        "buffer table is Double: expected contiguous float32, int64, int32, uint8 or bool");
  }
  const torch::nn::Module none;
  EXPECT_TRUE(ModuleBuffers(none).empty());
}

}  // namespace
}  // namespace lockstep
