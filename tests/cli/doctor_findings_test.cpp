// What lockstep doctor concludes from facts and measurements, without MPI.
#include <gmock/gmock.h>

#include <algorithm>
#include <string>

#include "cli/doctor_report.h"

namespace lockstep {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::StartsWith;

// A healthy job: two hosts, ranks in blocks, a core a rank.
Examination healthy(int ranks) {
  Examination e;
  e.started = "2026-11-22T20:00:00Z";
  e.backend = "mpi";
  for (int rank = 0; rank < ranks; ++rank) {
    RankFacts facts;
    facts.rank = rank;
    facts.host = rank < (ranks + 1) / 2 ? "node1" : "node2";
    facts.versions = {{"lockstep", "0.1.0"}, {"MPI", "Open MPI v4"}, {"kernel", "Linux 6.1"}};
    facts.program = "/opt/lockstep";
    facts.program_sha256 = std::string(64, 'a');
    facts.settings = "# group\nseed = 1\nmodel = mlp\n";
    facts.data = "3,000 images of 1x28x28";
    facts.data_sha256 = std::string(64, 'b');
    facts.test_sha256 = std::string(64, 'c');
    facts.device = "cpu AVX2";
    facts.cores = {rank};
    facts.threads = 1;
    facts.cgroup = "/";
    facts.memory_free = std::uint64_t{8} << 30;
    facts.shared_memory_free = std::uint64_t{1} << 30;
    facts.locked_memory_limit = ~std::uint64_t{0};
    facts.open_files_limit = 65536;
    facts.ledger = {"/tmp/l", "/tmp/l", std::uint64_t{9} << 30, 1e-3, 0, ""};
    e.ranks.push_back(facts);
    e.clocks.push_back({1e-5, 2e-5});
    e.computing.push_back({2e-3, 50, 1});
  }
  e.out = e.ranks[0].ledger;
  e.all_reduces = {{4, 1e-5, std::vector<std::int64_t>(static_cast<std::size_t>(ranks), 0)}};
  for (int first = 0; first < ranks; ++first) {
    for (int second = first + 1; second < ranks; ++second) {
      e.links.push_back({first, second, 1e-5, 5e9, 0, 0});
    }
  }
  return e;
}

std::vector<std::string> texts(const Examination& e) {
  std::vector<std::string> result;
  for (const Finding& finding : find_problems(e)) {
    const bool failed = finding.level == Finding::Level::kFailure;
    result.push_back(
        (failed ? std::to_string(static_cast<int>(finding.code)) : std::string("warning")) + " " +
        finding.text);
  }
  return result;
}

TEST(DoctorFindings, AHealthyJobHasNone) {
  for (const int ranks : {1, 2, 3, 4, 8, 64}) {
    EXPECT_THAT(texts(healthy(ranks)), IsEmpty());
    EXPECT_EQ(verdict({}), "verdict: healthy");
  }
}

TEST(DoctorFindings, TheOddOneOutIsTheMinorityAlsoWhenItIsTheRoot) {
  for (const int odd : {0, 3}) {
    Examination e = healthy(4);
    e.ranks[static_cast<std::size_t>(odd)].program_sha256 = std::string(64, 'f');
    const std::string odd_name = odd == 0 ? "rank 0 (node1)" : "rank 3 (node2)";
    EXPECT_THAT(texts(e), ElementsAre(AllOf(StartsWith("76 "),
                                            HasSubstr("SHA-256): " + odd_name + " has ffff"),
                                            HasSubstr("have aaaa"), Not(HasSubstr("majority")))));
  }
  Examination two = healthy(2);
  two.ranks[1].data_sha256 = std::string(64, 'f');
  EXPECT_THAT(
      texts(two),
      ElementsAre(AllOf(StartsWith("76 other training data"), HasSubstr("rank 1 (node2) has ffff"),
                        HasSubstr("rank 0 (node1) has bbbb"), HasSubstr("(no majority)"))));
}

TEST(DoctorFindings, SettingsAreNamedWithBothValues) {
  Examination e = healthy(4);
  e.ranks[2].settings = "# group\nseed = 2\nmodel = mlp\n";
  EXPECT_THAT(texts(e), ElementsAre(AllOf(StartsWith("76 "),
                                          HasSubstr("on rank 2 (node2) than on ranks 0, 1, 3"),
                                          EndsWith("seed = 2 instead of 1"))));
}

TEST(DoctorFindings, VersionsFailButForTheKernelAndTheDevice) {
  Examination e = healthy(4);
  e.ranks[1].versions["kernel"] = "Linux 5.10";
  e.ranks[1].device = "cpu AVX512";
  EXPECT_THAT(texts(e), ElementsAre(StartsWith("warning other kernel: rank 1 (node1)"),
                                    StartsWith("warning other devices")));
  e.ranks[1].versions["MPI"] = "Open MPI v5";
  EXPECT_THAT(texts(e)[0], StartsWith("76 other MPI: rank 1 (node1) has Open MPI v5, "));
}

TEST(DoctorFindings, UnreadableDataAndDirectoriesHaveTheirCodes) {
  Examination e = healthy(4);
  e.ranks[3].data_code = 66;
  e.ranks[3].data_problem = "/data: missing";
  e.out->code = 73;
  e.out->problem = "/out: Read-only file system";
  e.ranks[2].ledger.code = 74;
  e.ranks[2].ledger.problem = "/l: No space left on device";
  EXPECT_THAT(texts(e), ElementsAre("66 data on rank 3 (node2): /data: missing",
                                    "73 --out on rank 0 (node1): /out: Read-only file system",
                                    "74 ledgers on rank 2 (node2): /l: No space left on device"));
  EXPECT_EQ(exit_code_of(find_problems(e)), ExitCode::kInputMissing);
  EXPECT_THAT(verdict(find_problems(e)), StartsWith("verdict: FAILED (exit code 66): data on"));
}

TEST(DoctorFindings, WrongSumsAndMessagesNameTheRanks) {
  Examination e = healthy(4);
  e.all_reduces.push_back({4096, 1e-5, {0, 0, 7, 0}});
  e.links[0].wrong_from_second = 3;
  EXPECT_THAT(texts(e), ElementsAre(AllOf(StartsWith("76 all_reduce gives wrong sums on rank 2"),
                                          HasSubstr("7 elements"), HasSubstr("4.0 KiB")),
                                    "76 messages from rank 1 (node1) reach rank 0 (node1) damaged: "
                                    "3 bytes"));
}

TEST(DoctorFindings, ASlowRankIsNamedFromTwoRanksOn) {
  for (const int ranks : {2, 3, 4, 8}) {
    Examination e = healthy(ranks);
    e.computing[1] = {7e-3, 14, 0.25};
    EXPECT_THAT(texts(e), ElementsAre(AllOf(StartsWith("warning rank 1 (node"),
                                            HasSubstr("3.5 times longer"), HasSubstr("25 %"))));
    e.computing[1] = {4.9e-3, 20, 1};  // below the factor
    EXPECT_THAT(texts(e), IsEmpty());
  }
}

TEST(DoctorFindings, SlowRanksShareALine) {
  Examination e = healthy(4);
  e.computing[2] = {7e-3, 14, 0.25};
  e.computing[3] = {8e-3, 12, 0.3};
  EXPECT_THAT(texts(e), ElementsAre("warning ranks 2, 3 (node2) are slow: they compute 3.5 to 4.0 "
                                    "times longer than the median rank and had their cores for 25 "
                                    "to 30 % of the time"));
}

TEST(DoctorFindings, RanksThatHadNotTheirCoresAreNamedUnlessTheyAreTooManyThemselves) {
  Examination e = healthy(4);
  for (ComputeTime& time : e.computing) time.cpu_share = 0.22;
  EXPECT_THAT(texts(e),
              ElementsAre("warning ranks 0-3 (node1, node2) had their cores for 22 % of the "
                          "time: something else runs on them"));
  e.ranks[0].cores = e.ranks[1].cores = {4};
  EXPECT_THAT(texts(e), ElementsAre(HasSubstr("oversubscribed"),
                                    HasSubstr("ranks 2, 3 (node2) had their cores for 22 %")));
  e = healthy(2);
  e.computing[1].cpu_share = 0;  // a GPU
  EXPECT_THAT(texts(e), IsEmpty());
}

TEST(DoctorFindings, EqualProblemsOfLedgersShareALine) {
  Examination e = healthy(8);
  for (RankFacts& rank : e.ranks) {
    rank.ledger.code = 74;
    rank.ledger.problem = "/l: No space left on device";
  }
  EXPECT_THAT(texts(e), ElementsAre("74 ledgers on ranks 0-7 (node1, node2): "
                                    "/l: No space left on device"));
}

TEST(DoctorFindings, VirtualRanksFitTheWorldOrNot) {
  EXPECT_EQ(virtual_ranks_problem(0, 3), "");
  EXPECT_EQ(virtual_ranks_problem(4, 1), "");
  EXPECT_EQ(virtual_ranks_problem(4, 4), "");
  EXPECT_THAT(virtual_ranks_problem(4, 3), HasSubstr("--virtual-ranks 4 with 3 ranks"));
  EXPECT_THAT(virtual_ranks_problem(4, 8), HasSubstr("--virtual-ranks 4 with 8 ranks"));
}

TEST(DoctorFindings, ASlowLinkIsToldFromASlowRank) {
  Examination e = healthy(6);
  for (LinkTime& link : e.links) {
    if (link.first == 0 && link.second == 2) link.latency = 1e-3;
  }
  EXPECT_THAT(texts(e), ElementsAre(StartsWith("warning slow connection of rank 0 (node1) and rank "
                                               "2 (node1): 1000 us")));
  e = healthy(4);
  for (LinkTime& link : e.links) {
    // Both classes have too few links to compare: all of a host's, and all between hosts.
    if (link.second == 3) link.bytes_per_second = 1e8;
  }
  EXPECT_THAT(texts(e), ElementsAre(HasSubstr("slow connections of rank 3")));
  e = healthy(4);
  for (RankFacts& rank : e.ranks) rank.host = "one";
  for (LinkTime& link : e.links) {
    if (link.first == 1 || link.second == 1) link.bytes_per_second = 1e8;
  }
  e.ranks[0].cores = e.ranks[1].cores = e.ranks[2].cores = e.ranks[3].cores = {0, 1, 2, 3};
  EXPECT_THAT(texts(e),
              ElementsAre("warning slow connections of rank 1 (one) to every other rank"));
  // Links between hosts are slower than those within one: no outliers.
  e = healthy(6);
  for (LinkTime& link : e.links) {
    if (link.first < 3 && link.second >= 3) link.latency = 1e-3;
  }
  EXPECT_THAT(texts(e), IsEmpty());
}

TEST(DoctorFindings, OversubscribedCoresAreNamed) {
  Examination e = healthy(4);
  e.ranks[0].cores = e.ranks[1].cores = {4};
  EXPECT_THAT(texts(e), ElementsAre("warning oversubscribed: 2 compute threads of ranks 0, 1 share "
                                    "core 4 of node1"));
  e = healthy(4);
  e.ranks[2].cores = e.ranks[3].cores = {0, 1, 2};
  e.ranks[2].threads = e.ranks[3].threads = 2;
  EXPECT_THAT(texts(e), ElementsAre("warning oversubscribed: 4 compute threads of ranks 2, 3 share "
                                    "cores 0-2 of node2"));
  e = healthy(2);
  e.ranks[1].cgroup = "/slice";
  e.ranks[1].cgroup_cores = 0.5;
  EXPECT_THAT(texts(e), ElementsAre(AllOf(HasSubstr("1 compute threads of rank 1 on node2"),
                                          HasSubstr("/slice allows 0.5 cores"))));
}

TEST(DoctorFindings, ResourcesAndClocks) {
  Examination e = healthy(2);
  e.ranks[1].shared_memory_free = 1 << 20;
  e.ranks[1].memory_free = 1 << 20;
  e.ranks[1].open_files_limit = 256;
  e.clocks[1] = {-2.5, 1e-4};
  e.out->free_bytes = 1 << 20;
  EXPECT_THAT(texts(e), ElementsAre(HasSubstr("--out on rank 0 (node1): /tmp/l: only 1.0 MiB free"),
                                    HasSubstr("node2: only 1.0 MiB free in /dev/shm"),
                                    HasSubstr("node2: only 1.0 MiB of memory"),
                                    HasSubstr("node2: a process may open only 256 files"),
                                    HasSubstr("the clock of node2 is 2.5 s behind")));
  e = healthy(2);
  e.clocks[1] = {0.3, 0.25};  // too uncertain to say
  EXPECT_THAT(texts(e), IsEmpty());
}

TEST(DoctorReport, FitsOneScreen) {
  for (const int ranks : {1, 2, 4, 8, 64}) {
    Examination e = healthy(ranks);
    e.all_reduces.resize(6, e.all_reduces[0]);
    e.ranks.back().program_sha256 = std::string(64, 'f');
    const std::string text = report_text(e);
    std::size_t begin = 0, lines = 0;
    for (; begin < text.size(); ++lines) {
      const std::size_t end = text.find('\n', begin);
      const std::string line = text.substr(begin, end - begin);
      EXPECT_TRUE(line.size() <= 100 || line.starts_with("verdict: ")) << line;
      begin = end + 1;
    }
    EXPECT_LE(lines, ranks <= 4 ? 40u : 60u) << text;
  }
}

TEST(DoctorReport, EndsWithTheVerdict) {
  Examination e = healthy(2);
  EXPECT_THAT(report_text(e), EndsWith("\nverdict: healthy\n"));
  e.findings.push_back({Finding::Level::kFailure, ExitCode::kUnavailable, "rank 1 is missing"});
  EXPECT_THAT(report_text(e), EndsWith("\nverdict: FAILED (exit code 69): rank 1 is missing\n"));
  EXPECT_THAT(report_text({}), EndsWith("\nverdict: healthy\n"));
}

}  // namespace
}  // namespace lockstep
