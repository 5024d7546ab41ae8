// How jobs end: the exit code that mpirun passes on, the message, what is left of the ledgers, and
// that nothing waits for ever. Runs whole jobs.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "lockstep/base/clock.h"
#include "lockstep/comm/ledger.h"

namespace lockstep {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;

struct Ending {
  int code = -1;
  std::string output;
  double seconds = 0;
};

class Endings : public ::testing::Test {
 protected:
  Endings() {
    std::string name = "/tmp/endings-XXXXXX";
    directory_ = mkdtemp(name.data());
  }
  ~Endings() override { std::filesystem::remove_all(directory_); }

  Ending run(const std::string& how, int ranks, const std::string& environment = "") {
    const std::string ledgers = environment.empty() ? (directory_ / "ledgers").string() : "-";
    const std::string command = environment + " '" LOCKSTEP_SOURCE_DIR "/tests/mpirun' -n " +
                                std::to_string(ranks) + " '" LOCKSTEP_ENDING_PROGRAM "' " + how +
                                " " + ledgers + " 2>&1";
    Ending ending;
    const Stopwatch stopwatch;
    FILE* pipe = popen(command.c_str(), "r");
    std::array<char, 4096> chunk;
    while (const std::size_t got = fread(chunk.data(), 1, chunk.size(), pipe)) {
      ending.output.append(chunk.data(), got);
    }
    const int status = pclose(pipe);
    ending.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    ending.seconds = stopwatch.seconds();
    return ending;
  }
  std::vector<LedgerReading> ledgers() {
    std::vector<std::string> problems;
    auto readings = read_ledgers(directory_ / "ledgers", problems);
    return readings;
  }

  std::filesystem::path directory_;
};

TEST_F(Endings, InOrderLeavesNoLedgers) {
  const Ending ending = run("in-order", 2);
  EXPECT_EQ(ending.code, 0) << ending.output;
  EXPECT_EQ(ending.output, "");
  EXPECT_FALSE(std::filesystem::exists(directory_ / "ledgers"));
}

TEST_F(Endings, TheDefaultLedgersLieInADirectoryOfTheJob) {
  // The variable is for the ranks only: mpirun keeps sockets in it, whose paths must be short.
  Ending ending = run("in-order", 1, "TMPDIR='" + directory_.string() + "'");
  EXPECT_EQ(ending.code, 0) << ending.output;
  ending = run("alone", 1, "TMPDIR='" + directory_.string() + "'");
  EXPECT_EQ(ending.code, 74) << ending.output;
  int kept = 0;
  for (const auto& entry : std::filesystem::directory_iterator(directory_)) {
    if (entry.path().filename().string().rfind("lockstep-", 0) != 0) continue;
    ++kept;
    std::vector<std::string> problems;
    EXPECT_THAT(read_ledgers(entry.path(), problems), SizeIs(1));
    EXPECT_EQ(std::filesystem::status(entry.path()).permissions(),
              std::filesystem::perms::owner_all);
  }
  EXPECT_EQ(kept, 1);
}

TEST_F(Endings, AFailureOfOneRankAloneEndsTheJobWithItsCode) {
  const Ending ending = run("alone", 3);
  EXPECT_EQ(ending.code, 74) << ending.output;
  EXPECT_THAT(ending.output, HasSubstr("error: the disk of one rank is full"));
  EXPECT_LT(ending.seconds, 15);
  EXPECT_THAT(ledgers(), SizeIs(3));
}

TEST_F(Endings, AnAgreedFailureEndsTheJobInOrder) {
  const Ending ending = run("agreed", 3);
  EXPECT_EQ(ending.code, 65) << ending.output;
  EXPECT_THAT(ending.output, HasSubstr("error: rank 2 ("));
  EXPECT_THAT(ending.output, HasSubstr("): the data of one rank is bad"));
  EXPECT_LT(ending.seconds, 15);
  EXPECT_THAT(ledgers(), SizeIs(0));
}

TEST_F(Endings, AKilledRankLeavesItsLedger) {
  const Ending ending = run("killed", 2);
  EXPECT_EQ(ending.code, 137) << ending.output;
  const auto readings = ledgers();
  ASSERT_THAT(readings, SizeIs(2));
  EXPECT_EQ(readings[1].exit_code, std::nullopt);
  EXPECT_FALSE(readings[1].process_alive);
  EXPECT_THAT(
      explain(readings, 0)[1],
      AllOf(HasSubstr("is gone"), HasSubstr("after all_reduce 'gradients' bucket 2 of step 7")));
}

TEST_F(Endings, TheWatchdogEndsARankThatHangsAlone) {
  const Ending ending = run("hang-alone", 1);
  EXPECT_EQ(ending.code, 69) << ending.output;
  EXPECT_THAT(ending.output, AllOf(HasSubstr("rank 0 ("), HasSubstr("no sign of life for"),
                                   HasSubstr("in phase training (deadline 0.6 s)"),
                                   HasSubstr("all_reduce 'gradients' bucket 2 of step 7")));
  EXPECT_GT(ending.seconds, 1.5);
  EXPECT_LT(ending.seconds, 15);
}

TEST_F(Endings, AHangingOperationIsNamedByThoseWhoWait) {
  const Ending ending = run("hang-in-operation", 2);
  EXPECT_EQ(ending.code, 69) << ending.output;
  EXPECT_THAT(ending.output,
              AllOf(HasSubstr("error: all_reduce 'gradients' bucket 2 of step 8: not every rank"),
                    HasSubstr("rank 1 ("), HasSubstr("is behind: in phase training")));
  EXPECT_LT(ending.seconds, 15);
}

TEST_F(Endings, ARankThatNeverStartsIsNotWaitedForForEver) {
  const Ending ending = run("absent-at-start", 2);
  EXPECT_EQ(ending.code, 69) << ending.output;
  EXPECT_THAT(ending.output, AllOf(HasSubstr("rank 0 ("), HasSubstr("in phase start-up")));
  EXPECT_LT(ending.seconds, 20);
}

TEST_F(Endings, ARankThatNeverComesToTheEndIsNamed) {
  const Ending ending = run("absent-at-end", 2);
  EXPECT_EQ(ending.code, 69) << ending.output;
  EXPECT_THAT(ending.output, AllOf(HasSubstr("the job does not end in order: control 'barrier'"),
                                   HasSubstr("rank 1 (")));
  EXPECT_THAT(ending.output, Not(HasSubstr("terminate called")));
  EXPECT_LT(ending.seconds, 15);
}

}  // namespace
}  // namespace lockstep
