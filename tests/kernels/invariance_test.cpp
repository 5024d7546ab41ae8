// What the bits of a result must not depend on, and that a pass allocates nothing.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <span>

#include "subjects.h"

namespace lockstep {

long allocation_count();  // allocation_counter.cpp

namespace {

class Invariance : public ::testing::TestWithParam<Subject> {};
INSTANTIATE_TEST_SUITE_P(Subjects, Invariance,
                         ::testing::Values(Subject::kAvx2, Subject::kAvx512, Subject::kWide),
                         ::testing::PrintToStringParamName());

template <class T>
bool same_bits(std::span<const T> a, std::span<const T> b) {
  // memcmp takes no null pointer, which what is empty may have.
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size_bytes()) == 0);
}

template <class T>
std::span<const T> sample_of(const std::vector<T>& values, std::int64_t batch, std::int64_t i) {
  const std::size_t size = values.size() / static_cast<std::size_t>(batch);
  return std::span(values).subspan(static_cast<std::size_t>(i) * size, size);
}

TEST_P(Invariance, ThreadsChangeNoBit) {
  LOCKSTEP_SKIP_IF_MISSING(GetParam());
  std::mt19937_64 random(1);
  for (const std::int64_t batch : {1, 5, 17, 40}) {
    for (const ConvolutionShape& shape :
         {ConvolutionShape{1, 16, 5, 9, 8, true}, ConvolutionShape{3, 16, 3, 9, 8, true, true},
          ConvolutionShape{16, 32, 5, 9, 11, false}, ConvolutionShape{32, 16, 3, 14, 13, true},
          ConvolutionShape{16, 32, 3, 7, 15, true, true},
          ConvolutionShape{16, 16, 5, 30, 31, true}}) {
      const Problem problem(shape, batch, random);
      const FusedConvolution layer = make_layer(GetParam(), shape);
      Workspace workspace;
      SerialExecutor serial;
      const Computed alone = compute(layer, problem, workspace, serial);
      for (const int threads : {1, 2, 3, 7}) {
        ThreadedExecutor executor(threads);
        EXPECT_TRUE(compute(layer, problem, workspace, executor) == alone)
            << threads << " threads, " << problem.text();
      }
    }
  }
}

TEST_P(Invariance, OtherSamplesChangeNoBit) {
  LOCKSTEP_SKIP_IF_MISSING(GetParam());
  std::mt19937_64 random(2);
  Workspace workspace;
  SerialExecutor executor;
  for (int round = 0; round < 12; ++round) {
    const Problem one = random_problem(channel_step(GetParam()), random);
    const FusedConvolution layer = make_layer(GetParam(), one.shape);
    const Computed first = compute(layer, one, workspace, executor);
    // Each of its samples at a random place of a random other batch.
    for (std::int64_t i = 0; i < one.batch; ++i) {
      Problem other(one.shape, std::uniform_int_distribution<int>(1, 8)(random), random);
      other.weight = one.weight;
      other.bias = one.bias;
      const auto at = std::uniform_int_distribution<std::int64_t>(0, other.batch - 1)(random);
      other.scale = one.scale;
      other.keep.assign(one.keep.empty() ? 0 : other.output_gradient.size(), 1);
      const auto put = [&]<class T>(const std::vector<T>& from, std::vector<T>& to) {
        const auto sample = sample_of(from, one.batch, i);
        std::ranges::copy(sample, to.begin() + at * std::ssize(sample));
      };
      put(one.input, other.input);
      put(one.output_gradient, other.output_gradient);
      put(one.keep, other.keep);
      const Computed second = compute(layer, other, workspace, executor);
      EXPECT_TRUE(same_bits(sample_of(first.output, one.batch, i),
                            sample_of(second.output, other.batch, at)))
          << one.text();
      EXPECT_TRUE(same_bits(sample_of(first.routes, one.batch, i),
                            sample_of(second.routes, other.batch, at)));
      EXPECT_TRUE(same_bits(sample_of(first.input_gradient, one.batch, i),
                            sample_of(second.input_gradient, other.batch, at)))
          << one.text();
    }
  }
}

TEST_P(Invariance, TheInstructionSetChangesNoBit) {
  LOCKSTEP_SKIP_IF_MISSING(GetParam());
  std::mt19937_64 random(3);
  Workspace workspace;
  SerialExecutor executor;
  for (int round = 0; round < 20; ++round) {
    const Problem problem = random_problem(channel_step(GetParam()), random);
    EXPECT_TRUE(compute(make_layer(GetParam(), problem.shape), problem, workspace, executor) ==
                compute(make_layer(Subject::kAvx2, problem.shape), problem, workspace, executor))
        << problem.text();
  }
}

// AVX-512 takes 24 channels through AVX2's kernels.
TEST(Channels, OfHalfAVectorAreTakenByTheBestSet) {
  const InstructionSet set = best_instruction_set();
  if (set == InstructionSet::kNone) GTEST_SKIP() << "this CPU or build has no fast convolutions";
  std::mt19937_64 random(4);
  Workspace workspace;
  SerialExecutor executor;
  for (const bool pool : {false, true}) {
    const Problem problem({24, 40, 3, 7, 6, pool}, 3, random);
    EXPECT_TRUE(compute(FusedConvolution(problem.shape, set), problem, workspace, executor) ==
                compute(make_layer(Subject::kAvx2, problem.shape), problem, workspace, executor));
  }
}

TEST_P(Invariance, LeftoversInTheWorkspaceChangeNoBit) {
  LOCKSTEP_SKIP_IF_MISSING(GetParam());
  std::mt19937_64 random(5);
  SerialExecutor executor;
  for (int round = 0; round < 8; ++round) {
    const Problem problem = random_problem(channel_step(GetParam()), random);
    const FusedConvolution layer = make_layer(GetParam(), problem.shape);
    Workspace fresh, used;
    const Computed first = compute(layer, problem, fresh, executor);
    const std::size_t much = fresh.capacity() + 1000;
    std::fill_n(used.floats(much), much, std::numeric_limits<float>::quiet_NaN());
    EXPECT_TRUE(compute(layer, problem, used, executor) == first) << problem.text();
    EXPECT_EQ(used.capacity(), much);
  }
}

TEST_P(Invariance, PassesAllocateOnlyOnce) {
  LOCKSTEP_SKIP_IF_MISSING(GetParam());
  std::mt19937_64 random(6);
  Workspace workspace;
  SerialExecutor executor;
  for (const ConvolutionShape& shape :
       {ConvolutionShape{32, 32, 5, 28, 28, true}, ConvolutionShape{1, 32, 5, 28, 28, false},
        ConvolutionShape{32, 64, 3, 14, 14, true, true}}) {
    const Problem problem(shape, 20, random);
    const FusedConvolution layer = make_layer(GetParam(), shape);
    Computed result = compute(layer, problem, workspace, executor);
    const std::size_t capacity = workspace.capacity();
    const long before = allocation_count();
    layer.forward(problem.batch, problem.input.data(), {problem.weight.data(), problem.bias.data()},
                  result.output.data(), result.routes.data(), workspace, executor);
    layer.backward(problem.batch, problem.input.data(), problem.weight.data(),
                   {problem.output_gradient.data(), result.routes.data()},
                   {layer.gives_input_gradient() ? result.input_gradient.data() : nullptr,
                    result.weight_gradient.data(), result.bias_gradient.data()},
                   workspace, executor);
    EXPECT_EQ(allocation_count(), before);
    EXPECT_EQ(workspace.capacity(), capacity);
  }
}

}  // namespace
}  // namespace lockstep
