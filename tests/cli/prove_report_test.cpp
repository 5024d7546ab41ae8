#include "cli/prove_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace lockstep {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kOneThread[] = "cpu AVX512 threads=1 torch=2.11.0";

// Two runs with virtual ranks, which differ after step 3.
Proof proof_of(const std::string& first, const std::string& second) {
  Proof proof;
  proof.steps = 8;
  proof.settings.train.virtual_ranks = 4;
  proof.settings.model.threads = 1;
  proof.runs.resize(2);
  proof.runs[0].name = "A";
  proof.runs[0].ranks = {2};
  proof.runs[0].numerics = first;
  proof.runs[1].name = "B";
  proof.runs[1].ranks = {2};
  proof.runs[1].numerics = second;
  proof.runs[1].comparison.step = 3;
  proof.runs[1].comparison.differences = {{.file = "model.safetensors"}};
  return proof;
}

std::vector<std::string> reasons_of(const Proof& proof) {
  return likely_reasons(proof, proof.runs[1]);
}

TEST(ProveReport, OtherThreadsAndInstructionSetsAreTheReason) {
  EXPECT_THAT(reasons_of(proof_of(kOneThread, "cpu AVX512 threads=2 torch=2.11.0")),
              ElementsAre("A was computed with threads=1, B with threads=2"));
  EXPECT_THAT(reasons_of(proof_of("cpu AVX512+AVX2 threads=1 torch=2.11.0", kOneThread)),
              ElementsAre("A was computed with AVX512+AVX2, B with AVX512"));
}

TEST(ProveReport, OtherRanksWithoutVirtualRanksAreTheReason) {
  Proof proof =
      proof_of(std::string(kOneThread) + " ranks=2", std::string(kOneThread) + " ranks=4");
  proof.settings.train.virtual_ranks = 0;
  proof.runs[1].ranks = {4};
  EXPECT_THAT(reasons_of(proof),
              ElementsAre(AllOf(HasSubstr("without --virtual-ranks"),
                                HasSubstr("--virtual-ranks 4 gives the same bits on 1 to 4"))));
}

TEST(ProveReport, WithoutSuchAReasonTheComputationIsSuspected) {
  EXPECT_THAT(reasons_of(proof_of(kOneThread, kOneThread)),
              ElementsAre(HasSubstr("between two forward passes")));
  Proof threaded =
      proof_of("cpu AVX512 threads=2 torch=2.11.0", "cpu AVX512 threads=2 torch=2.11.0");
  threaded.settings.train.virtual_ranks = 0;
  threaded.settings.model.threads = 2;
  EXPECT_THAT(reasons_of(threaded), ElementsAre(HasSubstr("--threads 1"), HasSubstr("between")));
  EXPECT_THAT(
      reasons_of(proof_of("cuda NVIDIA-H100 torch=2.11.0", "cuda NVIDIA-H100 torch=2.11.0")),
      ElementsAre(HasSubstr("kernel of the GPU"), HasSubstr("between")));
}

TEST(ProveReport, AfterTheStopTheCheckpointIsSuspected) {
  Proof proof = proof_of(kOneThread, kOneThread);
  proof.resume = true;
  proof.stop_at = 2;
  EXPECT_THAT(reasons_of(proof), ElementsAre(HasSubstr("all was equal up to step 2")));
  proof.stop_at = 5;
  EXPECT_THAT(reasons_of(proof)[0],
              AllOf(HasSubstr("had not been stopped yet"), Not(HasSubstr("all"))));
}

}  // namespace
}  // namespace lockstep
