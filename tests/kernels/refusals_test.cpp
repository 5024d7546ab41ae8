// Shapes and CPUs without kernels.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "lockstep/base/error.h"
#include "subjects.h"

namespace lockstep {
namespace {

using ::testing::HasSubstr;

constexpr ConvolutionShape kGood{8, 8, 3, 4, 4, false};

std::string refusal(const ConvolutionShape& shape, InstructionSet set) {
  try {
    const FusedConvolution layer(shape, set);
    return "";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    return error.what();
  }
}

TEST(Refusals, ShapesWithoutKernels) {
  EXPECT_TRUE(supports(kGood));
  for (const ConvolutionShape& shape :
       {ConvolutionShape{0, 8, 3, 4, 4, false}, ConvolutionShape{5, 8, 3, 4, 4, false},
        ConvolutionShape{12, 8, 3, 4, 4, false}, ConvolutionShape{-8, 8, 3, 4, 4, false},
        ConvolutionShape{8, 0, 3, 4, 4, false}, ConvolutionShape{8, 12, 3, 4, 4, false},
        ConvolutionShape{8, 8, 4, 4, 4, false}, ConvolutionShape{8, 8, 7, 4, 4, false},
        ConvolutionShape{8, 8, 3, 0, 4, false}, ConvolutionShape{8, 8, 3, 4, 1, true},
        ConvolutionShape{8, 8, 3, 4, 4, false, true}, ConvolutionShape{8, 8, 3, 4, 1 << 20, false},
        ConvolutionShape{1 << 20, 8, 3, 4, 4, false}}) {
    EXPECT_FALSE(supports(shape));
    EXPECT_THAT(refusal(shape, best_instruction_set()), HasSubstr("no fast convolution for"));
  }
}

TEST(Refusals, CpusWithoutKernels) {
  EXPECT_THAT(refusal(kGood, InstructionSet::kNone), HasSubstr("no fast convolutions for none"));
  const auto sets = instruction_sets();
  for (const InstructionSet set : {InstructionSet::kAvx2, InstructionSet::kAvx512}) {
    const bool available = std::ranges::find(sets, set) != sets.end();
    EXPECT_EQ(refusal(kGood, set).empty(), available) << name_of(set);
  }
  EXPECT_EQ(best_instruction_set(), sets.empty() ? InstructionSet::kNone : sets.front());
}

TEST(Refusals, InputGradientOfFewChannels) {
  if (best_instruction_set() == InstructionSet::kNone) {
    GTEST_SKIP() << "this CPU or build has no fast convolutions";
  }
  std::mt19937_64 random(1);
  const Problem problem({1, 8, 3, 4, 4, false}, 1, random);
  const FusedConvolution layer(problem.shape, best_instruction_set());
  EXPECT_FALSE(layer.gives_input_gradient());
  Workspace workspace;
  SerialExecutor executor;
  Computed computed = compute(layer, problem, workspace, executor);
  std::vector<float> gradient(problem.input.size());
  EXPECT_THROW(layer.backward(1, problem.input.data(), problem.weight.data(),
                              {problem.output_gradient.data(), computed.routes.data()},
                              {gradient.data(), computed.weight_gradient.data(),
                               computed.bias_gradient.data()},
                              workspace, executor),
               Error);
}

}  // namespace
}  // namespace lockstep
