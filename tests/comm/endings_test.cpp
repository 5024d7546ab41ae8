// How jobs end: the exit code that mpirun passes on, the message, what is left of the ledgers, and
// that nothing waits for ever. Runs whole jobs.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pty.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

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

  Ending run(const std::string& how, int ranks, const std::string& environment = "",
             const std::string& wrapper = "") {
    const std::string ledgers = environment.empty() ? (directory_ / "ledgers").string() : "-";
    const std::string command = environment + " '" LOCKSTEP_SOURCE_DIR "/tests/mpirun' -n " +
                                std::to_string(ranks) + " " + wrapper +
                                " '" LOCKSTEP_ENDING_PROGRAM "' " + how + " " + ledgers + " 2>&1";
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

  // mpirun waits for what it has started itself: behind a script, and when it is killed, ranks
  // end later than it does.
  std::vector<LedgerReading> ledgers_when_all_have_ended() {
    const Stopwatch stopwatch;
    for (;;) {
      auto readings = ledgers();
      const bool over = std::ranges::none_of(readings, &LedgerReading::alive);
      if (over || stopwatch.seconds() > 20) {
        EXPECT_TRUE(over) << "a rank goes on";
        return readings;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  }

  static std::vector<std::string> lines_of(const std::vector<LedgerReading>& readings) {
    return examine(readings, 0).lines;
  }
  static void expect_ended_by_mpirun(const LedgerReading& reading) {
    ASSERT_TRUE(reading.signal) << lines_of({reading})[0];
    EXPECT_EQ(reading.signal->number, SIGTERM);
    EXPECT_TRUE(reading.signal->from_launcher);
    EXPECT_GT(reading.end_ns, 0);
  }
  static int count(const std::string& text, const std::string& what) {
    int found = 0;
    for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) {
      ++found;
    }
    return found;
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
  const auto readings = ledgers();
  ASSERT_THAT(readings, SizeIs(3));
  EXPECT_EQ(readings[2].exit_code, 74);
  EXPECT_EQ(readings[2].last_words, "the disk of one rank is full");
  EXPECT_GT(readings[2].end_ns, 0);
  EXPECT_THAT(
      lines_of(readings)[2],
      AllOf(HasSubstr("ended with exit code 74 in phase training of step 7, after all_reduce"),
            HasSubstr("of step 7"), HasSubstr(": the disk of one rank is full")));
  for (const int other : {0, 1}) expect_ended_by_mpirun(readings[static_cast<std::size_t>(other)]);
  EXPECT_THAT(examine(readings, 0).suspects, ElementsAre(2));
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
  EXPECT_TRUE(readings[1].vanished());
  EXPECT_THAT(lines_of(readings)[1],
              AllOf(HasSubstr("is gone"), HasSubstr("without a word"),
                    HasSubstr("after all_reduce 'gradients' bucket 2 of step 7")));
  expect_ended_by_mpirun(readings[0]);
  // The survivor says who died, although it is told to go at once itself.
  EXPECT_THAT(ending.output,
              AllOf(HasSubstr("was ended by its launcher (SIGTERM) in phase training of step 8, in "
                              "all_reduce 'gradients' bucket 2 of step 8"),
                    HasSubstr("is gone (process")));
  EXPECT_THAT(lines_of(readings)[0],
              AllOf(HasSubstr("was ended by its launcher (SIGTERM) in phase training of step 8"),
                    HasSubstr("in all_reduce 'gradients' bucket 2 of step 8")));
  EXPECT_THAT(examine(readings, 0).suspects, ElementsAre(1));
}

// A script that stays between mpirun and the rank (for a module, numactl or a container). One that
// dies of SIGTERM at once has mpirun kill what it leaves behind, with or without time for a word.
TEST_F(Endings, SurvivorsUnderAWrapperAreStillEndedByTheLauncher) {
  const Ending ending = run("killed", 2, "", R"(sh -c 'trap : TERM; "$0" "$@"; exit $?')");
  EXPECT_EQ(ending.code, 137) << ending.output;
  const auto readings = ledgers_when_all_have_ended();
  ASSERT_THAT(readings, SizeIs(2));
  EXPECT_TRUE(readings[1].vanished());
  expect_ended_by_mpirun(readings[0]);
  EXPECT_THAT(examine(readings, 0).suspects, ElementsAre(1));
}

// The kernel sends it, not a process: it must end the program all the same.
TEST_F(Endings, AProgramOnATerminalEndsAtCtrlC) {
  for (const auto& [key, signal] : {std::pair('\x03', SIGINT), std::pair('\x1c', SIGQUIT)}) {
    int terminal = -1;
    const pid_t child = forkpty(&terminal, nullptr, nullptr, nullptr);
    if (child == 0) {
      const rlimit none{0, 0};  // no core file
      setrlimit(RLIMIT_CORE, &none);
      execl(LOCKSTEP_ENDING_PROGRAM, LOCKSTEP_ENDING_PROGRAM, "waits",
            (directory_ / "ledgers").c_str(), nullptr);
      _exit(127);
    }
    std::string said;
    char byte = 0;
    while (said.find("ready") == std::string::npos && read(terminal, &byte, 1) == 1) said += byte;
    ASSERT_THAT(said, HasSubstr("ready"));
    ASSERT_EQ(write(terminal, &key, 1), 1);
    int status = 0;
    const Stopwatch stopwatch;
    while (waitpid(child, &status, WNOHANG) == 0 && stopwatch.seconds() < 20) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    kill(child, SIGKILL);
    close(terminal);
    EXPECT_LT(stopwatch.seconds(), 20) << "the key was swallowed";
    ASSERT_TRUE(WIFSIGNALED(status)) << status;
    EXPECT_EQ(WTERMSIG(status), signal);
    const auto readings = ledgers();
    ASSERT_THAT(readings, SizeIs(1));
    ASSERT_TRUE(readings[0].signal);
    EXPECT_EQ(readings[0].signal->number, signal);
  }
}

TEST_F(Endings, TimeInWhichAllRanksAreSuspendedDoesNotCount) {
  const Ending ending = run("suspended", 2);
  EXPECT_EQ(ending.code, 0) << ending.output;
  EXPECT_EQ(ending.output, "");
}

TEST_F(Endings, ATerminatedRankSaysThatItWasNotMpirun) {
  const Ending ending = run("terminated", 2);
  EXPECT_EQ(ending.code, 128 + SIGTERM) << ending.output;
  const auto readings = ledgers();
  ASSERT_THAT(readings, SizeIs(2));
  ASSERT_TRUE(readings[1].signal);
  EXPECT_EQ(readings[1].signal->number, SIGTERM);
  EXPECT_FALSE(readings[1].signal->from_launcher);
  EXPECT_THAT(lines_of(readings)[1],
              HasSubstr("died of SIGTERM in phase training of step 7, after"));
  EXPECT_THAT(examine(readings, 0).suspects, ElementsAre(1));
}

TEST_F(Endings, ACrashedRankLeavesTheSignal) {
  const Ending ending = run("aborted", 2);
  EXPECT_EQ(ending.code, 128 + SIGABRT) << ending.output;
  // The handler of MPI, which was there before, still has its say.
  EXPECT_THAT(ending.output, HasSubstr("Signal: Aborted (6)"));
  const auto readings = ledgers();
  ASSERT_THAT(readings, SizeIs(2));
  EXPECT_THAT(lines_of(readings)[1],
              HasSubstr("died of SIGABRT in phase training of step 7, after"));
  EXPECT_THAT(examine(readings, 0).suspects, ElementsAre(1));
}

#ifndef __SANITIZE_ADDRESS__  // which turns this signal into an exit code of its own
TEST_F(Endings, AStackThatOverflowedIsReported) {
  const Ending ending = run("overflowed", 2);
  EXPECT_EQ(ending.code, 128 + SIGSEGV) << ending.output;
  const auto readings = ledgers();
  ASSERT_THAT(readings, SizeIs(2));
  EXPECT_THAT(lines_of(readings)[1],
              HasSubstr("died of SIGSEGV in phase training of step 7, after"));
}
#endif

TEST_F(Endings, NoRankOutlivesMpirun) {
  const Ending ending = run("orphaned", 2);
  EXPECT_EQ(ending.code, 128 + SIGKILL) << ending.output;
  const auto readings = ledgers_when_all_have_ended();
  ASSERT_THAT(readings, SizeIs(2));
  for (const LedgerReading& reading : readings) {
    EXPECT_EQ(reading.exit_code, 69) << lines_of({reading})[0];
    EXPECT_THAT(reading.last_words, AllOf(HasSubstr("its launcher (process"), HasSubstr("gone")));
  }
}

TEST_F(Endings, AStoppedRankIsNamed) {
  const Ending ending = run("stopped", 2);
  EXPECT_EQ(ending.code, 69) << ending.output;
  EXPECT_THAT(ending.output,
              AllOf(HasSubstr("all_reduce 'gradients' bucket 2 of step 8: not every rank"),
                    HasSubstr("says rank 0 ("), HasSubstr("; waiting for rank 1 ("),
                    HasSubstr(") is stopped (SIGSTOP) and is behind: in phase training")));
  EXPECT_LT(ending.seconds, 15);
}

TEST_F(Endings, RanksWhoseLedgersCannotBeReadAreAsked) {
  const Ending ending = run("unseen", 2);
  EXPECT_EQ(ending.code, 69) << ending.output;
  EXPECT_THAT(ending.output,
              AllOf(HasSubstr("all_reduce 'gradients' bucket 0 of step 8: not every rank"),
                    HasSubstr("says rank 0 ("), HasSubstr("; waiting for rank 1 ("),
                    HasSubstr(") is behind: in phase validation"),
                    HasSubstr("in phase validation of step 7"), HasSubstr("in control 'barrier'"),
                    HasSubstr("; rank 0 reached operation"), Not(HasSubstr("no word"))));
}

TEST_F(Endings, RanksThatDoNotAnswerAreNamed) {
  const Ending ending = run("unseen-and-silent", 2);
  EXPECT_EQ(ending.code, 69) << ending.output;
  EXPECT_THAT(ending.output, AllOf(HasSubstr("; no word from rank 1 ("),
                                   HasSubstr("): no answer within 0.2 s: ")));
}

TEST_F(Endings, ARankThatHangsInAPartIsNamedByItsNumberInTheJob) {
  const Ending ending = run("hang-in-part", 4);
  EXPECT_EQ(ending.code, 69) << ending.output;
  EXPECT_THAT(ending.output,
              AllOf(HasSubstr("all_reduce 'gradients' bucket 2 of step 9: not every rank"),
                    HasSubstr("says rank 2 ("), HasSubstr("; waiting for rank 3 ("),
                    HasSubstr("of step 8 (operation "), HasSubstr("of its part of the ranks)"),
                    HasSubstr("; rank 2 reached operation")));
}

TEST_F(Endings, AStartThatFailsOnOneRankEndsInOrderWithOneMessage) {
  const Ending ending = run("no-ledger", 3);
  EXPECT_EQ(ending.code, 73) << ending.output;
  EXPECT_EQ(count(ending.output, "error: "), 1) << ending.output;
  EXPECT_THAT(ending.output, AllOf(HasSubstr("error: rank 1 ("), HasSubstr("/proc/none/ledgers")));
  EXPECT_THAT(ledgers(), SizeIs(0));
}

TEST_F(Endings, ABackendThatFailsOnOneRankEndsInOrderWithOneMessage) {
  const Ending ending = run("no-backend", 3);
  EXPECT_EQ(ending.code, 64) << ending.output;
  EXPECT_EQ(count(ending.output, "error: "), 1) << ending.output;
  EXPECT_THAT(ending.output,
              AllOf(HasSubstr("error: rank 2 ("), HasSubstr("--backend none: unknown")));
  EXPECT_THAT(ledgers(), SizeIs(0));
}

// At 2 ranks the root is the only one that mpirun ends, at 4 it is one of three.
TEST_F(Endings, AnEndByTheLauncherLetsTheRootFinish) {
  for (const int ranks : {2, 4}) {
    SCOPED_TRACE(ranks);
    const Ending ending = run("finishes", ranks);
    EXPECT_EQ(ending.code, 137) << ending.output;
    EXPECT_TRUE(std::filesystem::remove(directory_ / "finished")) << ending.output;
    EXPECT_THAT(ending.output, HasSubstr("rank 0 ("));
    expect_ended_by_mpirun(ledgers()[0]);
    std::filesystem::remove_all(directory_ / "ledgers");
  }
}

// mpirun kills what is left 4 s after its SIGTERM here.
TEST_F(Endings, AnEndByTheLauncherDoesNotWaitForEver) {
  setenv("LOCKSTEP_TEST_GRACE", "4", 1);
  std::thread job([this] { EXPECT_EQ(run("never-finishes", 2).code, 137); });
  const auto root_is = [this](auto what) {
    const Stopwatch stopwatch;
    for (;;) {
      const auto readings = ledgers();
      if (!readings.empty() && what(readings[0])) return true;
      if (stopwatch.seconds() > 20) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  };
  EXPECT_TRUE(root_is([](const LedgerReading& root) { return root.signal.has_value(); }));
  const Stopwatch since_signal;
  EXPECT_TRUE(root_is([](const LedgerReading& root) { return !root.alive(); }));
  EXPECT_LT(since_signal.seconds(), 3);
  job.join();
  unsetenv("LOCKSTEP_TEST_GRACE");
}

TEST_F(Endings, TheWatchdogEndsARankThatHangsAlone) {
  const Ending ending = run("hang-alone", 1);
  EXPECT_EQ(ending.code, 69) << ending.output;
  EXPECT_THAT(ending.output, AllOf(HasSubstr("rank 0 ("), HasSubstr("no sign of life for"),
                                   HasSubstr("in phase training of step 9 (deadline 0.6 s)"),
                                   HasSubstr("all_reduce 'gradients' bucket 2 of step 7")));
  const auto readings = ledgers();
  ASSERT_THAT(readings, SizeIs(1));
  EXPECT_EQ(readings[0].exit_code, 69);
  EXPECT_THAT(readings[0].last_words, HasSubstr("no sign of life"));
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
