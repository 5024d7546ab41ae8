#include "cli/prove_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

namespace lockstep {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::EndsWith;
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

// A sum that hangs on timing or on the GPU shows after the stop as well as before it.
TEST(ProveReport, AfterTheStopTheCheckpointIsSuspectedFirst) {
  Proof proof = proof_of(kOneThread, kOneThread);
  proof.resume = true;
  proof.stop_at = 2;
  EXPECT_THAT(reasons_of(proof),
              ElementsAre(HasSubstr("all was equal up to step 2"), HasSubstr("between")));
  proof.stop_at = 5;
  EXPECT_THAT(reasons_of(proof)[0],
              AllOf(HasSubstr("had not been stopped yet"), Not(HasSubstr("all"))));
}

TEST(ProveReport, WhatComputedARunWithoutCheckpointIsNotGuessed) {
  EXPECT_THAT(reasons_of(proof_of(kOneThread, "")), Not(Contains(HasSubstr("was computed with"))));
}

TEST(ProveReport, TheOrderInWhichNcclSumsIsSuspectedWithoutVirtualRanks) {
  constexpr char kGpu[] = "cuda NVIDIA-H100 torch=2.11.0";
  Proof proof = proof_of(kGpu, kGpu);
  EXPECT_THAT(reasons_of(proof), Not(Contains(HasSubstr("NCCL"))));
  proof.settings.train.virtual_ranks = 0;
  EXPECT_THAT(reasons_of(proof),
              Contains(AllOf(HasSubstr("NCCL"), HasSubstr("--virtual-ranks 2"))));
  proof.settings.comm.backend = "mpi";
  EXPECT_THAT(reasons_of(proof), Not(Contains(HasSubstr("NCCL"))));
}

TEST(ProveReport, AFirstRunThatDivergesIsToldAndProvesNothing) {
  Proof proof = proof_of(kOneThread, kOneThread);
  proof.runs.pop_back();
  proof.runs[0].failure = "step 5: the reduced gradient is not finite";
  proof.runs[0].last_step = 4;
  EXPECT_FALSE(proof.holds());
  EXPECT_THAT(proof_table(proof),
              AllOf(HasSubstr("A ended after step 4: step 5: the reduced gradient"),
                    HasSubstr("nothing to compare with"), EndsWith("\nnot proved\n")));
  const auto json = nlohmann::json::parse(proof_json(proof));
  EXPECT_EQ(json["proved"], false);
  EXPECT_EQ(json["runs"][0]["failure"], proof.runs[0].failure);
  EXPECT_TRUE(json["differences"].empty());
}

TEST(ProveReport, JsonIsUtf8WhateverTheUsersTextIs) {
  Proof proof = proof_of(kOneThread, kOneThread);
  proof.settings.comm.inject_fault = "\xff\xfe";
  EXPECT_FALSE(nlohmann::json::parse(proof_json(proof)).is_discarded());
}

TEST(ProveReport, FewerRanksWouldTakeMoreThreads) {
  Proof proof = proof_of(kOneThread, kOneThread);
  proof.runs[1].ranks = {4};
  EXPECT_THAT(proof_table(proof), Not(HasSubstr("Every run has as many threads")));
  proof.settings.model.threads = 0;
  EXPECT_THAT(proof_table(proof), HasSubstr("Every run has as many threads"));
  proof.runs[1].ranks = {2};
  EXPECT_THAT(proof_table(proof), Not(HasSubstr("Every run has as many threads")));
}

TEST(ProveReport, FitsEightyColumns) {
  Proof proof =
      proof_of(std::string(kOneThread) + " ranks=2", std::string(kOneThread) + " ranks=4");
  proof.settings.train.virtual_ranks = 0;
  proof.settings.model.threads = 0;
  proof.settings.model.name = "digits-cnn";
  proof.runs.resize(3, proof.runs[1]);
  for (ProofRun& run : proof.runs) {
    run.what = "stopped after step 100000, resumed";
    run.ranks = {4, 1};
    run.last_step = 1'000'000;
    run.sha256["optimizer.safetensors"] = std::string(64, 'a');
  }
  proof.runs[2].name = "C";
  proof.runs[1].comparison.differences = {{.file = "model.safetensors",
                                           .place = "dense1.weight [255,1023]",
                                           .first = "-0x1.9e7b42p-19",
                                           .second = "-0x1.9e7b44p-19",
                                           .differing = 100'000,
                                           .elements = 1'000'000,
                                           .differing_tensors = 10,
                                           .tensors = 12}};
  std::istringstream table(proof_table(proof));
  for (std::string line; std::getline(table, line);) EXPECT_LE(line.size(), 80u) << line;
}

}  // namespace
}  // namespace lockstep
