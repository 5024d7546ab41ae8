#include "lockstep/sync/replica_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "lockstep/base/error.h"
#include "small_world.h"

namespace lockstep {
namespace {

using ::testing::HasSubstr;

void check(World& world, const FlatParameters& parameters, const std::string& moment) {
  const std::vector<Replica> replicas{{"weights", "", parameters.weights()}};
  check_replicas(world, parameters.views(), replicas, moment);
}

void flip_one_bit(const FlatParameters& parameters, const at::Tensor& values,
                  const std::string& name) {
  for (const auto& view : parameters.views()) {
    if (view.name != name) continue;
    float* value = values.mutable_data_ptr<float>() + view.offset + view.count / 2;
    std::uint32_t bits = 0;
    std::memcpy(&bits, value, sizeof bits);
    bits ^= 1u;
    std::memcpy(value, &bits, sizeof bits);
  }
}

TEST(ReplicaCheck, PassesEqualReplicas) {
  World world = start_world();
  FlatParameters parameters(small_network(), at::kCPU);
  EXPECT_NO_THROW(check(world, parameters, "start"));
}

TEST(ReplicaCheck, NamesTheElementAndBothValues) {
  World world = start_world();
  if (world.size() == 1) GTEST_SKIP() << "one rank has no replica to differ from";
  FlatParameters parameters(small_network(), at::kCPU);
  const auto& view = parameters.views().back();
  float* weights = parameters.weights().mutable_data_ptr<float>() + view.offset;
  weights[3] = 0.5f;
  weights[4] = 0.0f;
  if (world.rank() == 1) {
    weights[3] = 0.75f;
    weights[4] = -0.0f;
  }
  try {
    check(world, parameters, "step 12");
    FAIL() << "expected an Error";
  } catch (const AgreedError& error) {
    EXPECT_THAT(error.what(), HasSubstr(view.name + "[3] is 0x1.8p-1 (0.75) on rank 1 and 0x1p-1 "
                                                    "(0.5) on rank 0, 2 of "));
  }
}

TEST(ReplicaCheck, NamesRankAndTensorOfOneFlippedBit) {
  World world = start_world();
  if (world.size() == 1) GTEST_SKIP() << "one rank has no replica to differ from";
  for (int wrong = world.size() > 2 ? 0 : 1; wrong < world.size(); ++wrong) {
    FlatParameters parameters(small_network(), at::kCPU);
    if (world.rank() == wrong) flip_one_bit(parameters, parameters.weights(), "dense2.weight");
    try {
      check(world, parameters, "step 12");
      FAIL() << "expected an Error";
    } catch (const AgreedError& error) {
      EXPECT_EQ(error.code(), ExitCode::kDiverged);
      EXPECT_THAT(error.what(), HasSubstr("step 12"));
      EXPECT_THAT(error.what(), HasSubstr("rank " + std::to_string(wrong) + " ("));
      EXPECT_THAT(error.what(), HasSubstr("tensors: dense2.weight; dense2.weight["));
      EXPECT_THAT(error.what(), HasSubstr(" on rank " + std::to_string(wrong) + " and "));
      EXPECT_THAT(error.what(), HasSubstr(", 1 of "));
    }
  }
}

TEST(ReplicaCheck, SaysWhenThereIsNoMajority) {
  World world = start_world();
  if (world.size() == 1) GTEST_SKIP() << "one rank has no replica to differ from";
  FlatParameters parameters(small_network(), at::kCPU);
  // All differ, or two halves do.
  for (const int kinds : {world.size(), 2}) {
    *parameters.weights().mutable_data_ptr<float>() = static_cast<float>(world.rank() % kinds);
    try {
      check(world, parameters, "step 12");
      FAIL() << "expected an Error";
    } catch (const AgreedError& error) {
      EXPECT_THAT(error.what(), HasSubstr("no majority"));
    }
  }
}

// What only the root writes into a checkpoint must be noticed too, on the root as well.
TEST(ReplicaCheck, NamesWhatElseDiffers) {
  World world = start_world();
  if (world.size() == 1) GTEST_SKIP() << "one rank has no replica to differ from";
  const FlatParameters parameters(small_network(), at::kCPU);
  const std::vector<Replica> replicas{
      {"weights", "", parameters.weights()},
      {"averaged weights", "ema.", parameters.weights().clone()},
      {"optimizer state", "momentum.", parameters.weights().clone()}};
  EXPECT_NO_THROW(check_replicas(world, parameters.views(), replicas, "start"));
  const int wrong = world.size() > 2 ? 0 : 1;
  if (world.rank() == wrong) {
    flip_one_bit(parameters, replicas[1].values, "dense1.bias");
    flip_one_bit(parameters, replicas[2].values, "dense2.weight");
  }
  try {
    check_replicas(world, parameters.views(), replicas, "step 12");
    FAIL() << "expected an Error";
  } catch (const AgreedError& error) {
    EXPECT_THAT(error.what(), HasSubstr("the averaged weights and optimizer state of rank " +
                                        std::to_string(wrong) + " ("));
    EXPECT_THAT(error.what(), HasSubstr("tensors: ema.dense1.bias, momentum.dense2.weight; "
                                        "ema.dense1.bias["));
  }
}

// A counter's bits taken for a float would be 0x1.8p-148.
TEST(ReplicaCheck, ShowsWholeNumbersAsWhatTheyAre) {
  World world = start_world();
  if (world.size() == 1) GTEST_SKIP() << "one rank has no replica to differ from";
  const std::pair<at::ScalarType, std::int64_t> kinds[] = {
      {at::kLong, -(std::int64_t{1} << 40)}, {at::kInt, -7}, {at::kByte, 200}, {at::kBool, 1}};
  for (const auto& [type, value] : kinds) {
    torch::nn::Module module;
    const at::Tensor counts = at::zeros({3}, type);
    if (world.rank() == 1) counts[2] = value;
    module.register_buffer("counts", counts);
    const ModuleBuffers buffers(module);
    const FlatParameters parameters(small_network(), at::kCPU);
    const std::vector<Replica> replicas{{"buffers", "", buffers.values(), &buffers.views()}};
    try {
      check_replicas(world, parameters.views(), replicas, "step 12");
      FAIL() << "expected an Error";
    } catch (const AgreedError& error) {
      EXPECT_THAT(error.what(), HasSubstr("; counts[2] is " + std::to_string(value) +
                                          " on rank 1 and 0 on rank 0, 1 of 3 values differ"));
    }
  }
}

}  // namespace
}  // namespace lockstep
