// The ledger file: what is written is read, whoever dies in between, and what it explains.
#include "lockstep/comm/ledger.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "comm/diagnosis.h"
#include "comm/ledger_format.h"
#include "comm/process_state.h"
#include "lockstep/base/clock.h"
#include "lockstep/base/error.h"
#include "lockstep/base/file.h"

namespace lockstep {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

std::string own_host() {
  char host[256] = "";
  gethostname(host, sizeof(host) - 1);
  return host;
}

std::int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

class LedgerTest : public ::testing::Test {
 protected:
  LedgerTest() {
    std::string name = ::testing::TempDir() + "ledger-XXXXXX";
    directory_ = mkdtemp(name.data());
  }
  ~LedgerTest() override { std::filesystem::remove_all(directory_); }

  Ledger make(int rank, int size, std::uint64_t job = 7) {
    return Ledger(directory_, {rank, size, own_host(), job});
  }
  std::vector<std::string> explain_all(std::uint64_t job = 7) {
    std::vector<std::string> problems;
    return explain(read_ledgers(directory_, problems, job), now_ns());
  }

  std::filesystem::path directory_;
};

TEST_F(LedgerTest, ReadsWhatWasWritten) {
  Ledger ledger = make(2, 4);
  EXPECT_EQ(ledger.path(), directory_ / (own_host() + "-rank-2"));
  ledger.enter_phase(Phase::kTraining);
  OperationCounter whole;
  OperationCounter part{.world = 77};
  const OperationLabel gradients{"gradients", 3, std::int64_t{1} << 40};
  EXPECT_EQ(ledger.issued(whole, OperationKind::kAllReduce, gradients), 1u);
  ledger.finished(whole, 1, OperationKind::kAllReduce, gradients);
  ledger.join(part);
  EXPECT_EQ(ledger.issued(part, OperationKind::kBroadcast, {"in a part"}), 1u);
  EXPECT_EQ(ledger.issued(whole, OperationKind::kExchange, {"tree"}), 2u);
  for (int i = 0; i < 1000; ++i) ledger.progress();

  const LedgerReading reading = read_ledger(ledger.path());
  EXPECT_EQ(reading.identity.rank, 2);
  EXPECT_EQ(reading.identity.size, 4);
  EXPECT_EQ(reading.identity.host, own_host().substr(0, 63));
  EXPECT_EQ(reading.identity.job, 7u);
  EXPECT_EQ(reading.pid, getpid());
  EXPECT_EQ(reading.process, ProcessState::kAlive);
  EXPECT_EQ(reading.exit_code, std::nullopt);
  EXPECT_EQ(reading.end_ns, 0);
  EXPECT_EQ(reading.last_operation(), 2u);
  EXPECT_EQ(reading.last_operation(77), 1u);
  EXPECT_EQ(reading.last_operation(78), 0u);
  ASSERT_THAT(reading.entries, SizeIs(8));
  EXPECT_EQ(reading.entries[0].phase, Phase::kStartUp);
  EXPECT_EQ(reading.entries[1].phase, Phase::kTraining);
  const LedgerEntry& issued = reading.entries[2];
  EXPECT_EQ(issued.number, 3u);
  EXPECT_EQ(issued.operation, 1u);
  EXPECT_EQ(issued.event, LedgerEvent::kIssued);
  EXPECT_EQ(issued.kind, OperationKind::kAllReduce);
  EXPECT_EQ(issued.bucket, 3);
  EXPECT_EQ(issued.step, std::int64_t{1} << 40);
  EXPECT_STREQ(issued.name.data(), "gradients");
  EXPECT_LT(std::abs(now_ns() - issued.time_ns), 60'000'000'000);
  EXPECT_EQ(reading.entries[4].event, LedgerEvent::kJoined);
  EXPECT_EQ(reading.entries[5].world, 77u);
  EXPECT_EQ(reading.entries[7].event, LedgerEvent::kProgress);
}

// Every rank says this at the same time, so that all of it grows no faster than their number.
TEST_F(LedgerTest, DiagnosesManyRanksInFewLines) {
  std::vector<Ledger> ledgers;
  for (int rank = 0; rank < 32; ++rank) {
    ledgers.push_back(make(rank, 33));
    OperationCounter counter;
    if (rank != 29) ledgers.back().issued(counter, OperationKind::kAllReduce, {"gradients"});
  }
  const std::string text = diagnosis(directory_, 7);
  EXPECT_EQ(std::ranges::count(text, '\n'), 8 + 2) << text;
  EXPECT_THAT(text, HasSubstr("\n  rank 0 ("));
  EXPECT_THAT(text, HasSubstr("\n  rank 6 ("));
  EXPECT_THAT(text, HasSubstr("\n  rank 29 ("));
  EXPECT_THAT(text, HasSubstr("\n  ranks 7-28, 30, 31: told by lockstep doctor --ledger " +
                              directory_.string()));
  EXPECT_THAT(text, HasSubstr("\n  rank 32 has no ledger here"));
}

TEST_F(LedgerTest, KeepsTheNewestEntriesAndCutsLongNames) {
  Ledger ledger = make(0, 1);
  OperationCounter counter;
  for (int i = 1; i <= 1000; ++i) {
    ledger.issued(counter, OperationKind::kAllReduce,
                  {"a name that is longer than the entry has room for", i, i});
  }
  const LedgerReading reading = read_ledger(ledger.path());
  ASSERT_THAT(reading.entries, SizeIs(Ledger::kCapacity));
  for (std::size_t i = 0; i < reading.entries.size(); ++i) {
    EXPECT_EQ(reading.entries[i].operation, 1000 - Ledger::kCapacity + 1 + i);
  }
  EXPECT_STREQ(reading.entries.back().name.data(), "a name that is longe");
}

TEST_F(LedgerTest, SurvivesADeathByKill) {
  const pid_t child = fork();
  if (child == 0) {
    Ledger ledger = make(1, 2);
    ledger.enter_phase(Phase::kTraining);
    OperationCounter counter;
    ledger.issued(counter, OperationKind::kAllReduce, {"gradients", 5, 99});
    raise(SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  Ledger alive = make(0, 2);
  OperationCounter counter;
  alive.issued(counter, OperationKind::kAllReduce, {"gradients", 5, 99});
  EXPECT_THAT(
      explain_all(),
      ElementsAre(
          AllOf(HasSubstr("rank 0"),
                HasSubstr("has been in all_reduce 'gradients' bucket 5 of step 99")),
          AllOf(HasSubstr("rank 1 (" + own_host() + ") is gone"), HasSubstr("phase training"),
                HasSubstr("in all_reduce 'gradients' bucket 5 of step 99"))));
}

TEST_F(LedgerTest, ExplainsWhoIsBehindWhom) {
  Ledger first = make(0, 6);
  Ledger second = make(1, 6);
  Ledger third = make(2, 6);
  Ledger fourth = make(3, 6);
  for (Ledger* ledger : {&first, &second, &third}) {
    ledger->enter_phase(Phase::kTraining);
    OperationCounter counter;
    ledger->issued(counter, OperationKind::kAllReduce, {"gradients", 0, 41});
    ledger->finished(counter, 1, OperationKind::kAllReduce, {"gradients", 0, 41});
  }
  OperationCounter further{.issued = 1};
  first.issued(further, OperationKind::kAllReduce, {"gradients", 1, 41});
  further.issued = 1;
  third.issued(further, OperationKind::kAllReduce, {"gradients", 1, 41});
  fourth.close(ExitCode::kBadData, "a bad row\n  rank 0 (node) is behind");
  EXPECT_THAT(
      explain_all(),
      ElementsAre(
          HasSubstr("has been in all_reduce 'gradients' bucket 1 of step 41 (operation 2)"),
          AllOf(HasSubstr("rank 1"), HasSubstr("is behind: in phase training"),
                HasSubstr("after all_reduce 'gradients' bucket 0 of step 41 (operation 1)"),
                HasSubstr("; ranks 0, 2 reached operation 2")),
          HasSubstr("rank 2"),
          AllOf(HasSubstr("rank 3"), HasSubstr("ended with exit code 65 in phase start-up"),
                EndsWith(": a bad row")),
          "ranks 4, 5 have no ledger here: on other hosts, ended in order, or never started"));
}

// Ranks 0 and 1 work in a part of the ranks, 2 waits for them: 1 is who keeps everyone waiting.
TEST_F(LedgerTest, ComparesRanksWithinTheirPart) {
  std::vector<Ledger> ledgers;
  for (int rank = 0; rank < 3; ++rank) ledgers.push_back(make(rank, 3));
  OperationCounter part{.world = 5};
  for (int rank = 0; rank < 3; ++rank) {
    Ledger& ledger = ledgers[static_cast<std::size_t>(rank)];
    OperationCounter whole;
    ledger.issued(whole, OperationKind::kControl, {"barrier"});
    ledger.finished(whole, 1, OperationKind::kControl, {"barrier"});
    if (rank == 2) {
      ledger.issued(whole, OperationKind::kControl, {"barrier"});
      continue;
    }
    ledger.join(part);
    part.issued = 0;
    ledger.issued(part, OperationKind::kAllReduce, {"gradients", 0, 41});
    ledger.finished(part, 1, OperationKind::kAllReduce, {"gradients", 0, 41});
    if (rank == 0) ledger.issued(part, OperationKind::kAllReduce, {"gradients", 1, 41});
  }
  std::vector<std::string> problems;
  const Explanation explanation = examine(read_ledgers(directory_, problems, 7), now_ns());
  EXPECT_THAT(
      explanation.lines,
      ElementsAre(
          HasSubstr(
              "has been in all_reduce 'gradients' bucket 1 of step 41 (operation 2 of its part"),
          AllOf(HasSubstr("is behind: "), HasSubstr("(operation 1 of its part"),
                HasSubstr("; rank 0 reached operation 2")),
          HasSubstr("has been in control 'barrier' (operation 2) since")));
  EXPECT_THAT(explanation.suspects, ElementsAre(1));
  EXPECT_THAT(explanation.absent, IsEmpty());
}

TEST_F(LedgerTest, NamesTheOldestOperationThatIsWaitedFor) {
  Ledger ledger = make(0, 1);
  OperationCounter counter;
  for (int bucket = 0; bucket < 4; ++bucket) {
    ledger.issued(counter, OperationKind::kAllReduce, {"gradients", bucket, 3});
  }
  ledger.finished(counter, 1, OperationKind::kAllReduce, {"gradients", 0, 3});
  EXPECT_THAT(explain_all(), ElementsAre(HasSubstr("has been in all_reduce 'gradients' bucket 1")));
}

TEST_F(LedgerTest, KeepsTheFirstEndOnly) {
  Ledger ledger = make(0, 1);
  ledger.close(ExitCode::kBadData, std::string(1000, 'x'));
  ledger.close(ExitCode::kInputOutput, "later");
  const LedgerReading reading = read_ledger(ledger.path());
  EXPECT_EQ(reading.exit_code, 65);
  EXPECT_EQ(reading.last_words, std::string(367, 'x'));
  EXPECT_EQ(reading.process, ProcessState::kGone);
  EXPECT_LT(std::abs(now_ns() - reading.end_ns), 60'000'000'000);
}

// The process number of a ledger may belong to somebody else by now.
TEST_F(LedgerTest, IsNotDeceivedByAProcessNumberThatIsUsedAgain) {
  const Ledger ledger = make(0, 1);
  std::vector<std::byte> bytes = read_file(ledger.path());
  bytes[112] ^= std::byte{1};  // when the process started
  write_file_durably(directory_ / "x-rank-0", bytes);
  EXPECT_TRUE(read_ledger(ledger.path()).alive());
  EXPECT_TRUE(read_ledger(directory_ / "x-rank-0").vanished());
}

TEST_F(LedgerTest, SeesThatAProcessIsStopped) {
  const pid_t child = fork();
  if (child == 0) {
    Ledger ledger = make(0, 1);
    raise(SIGSTOP);
    _exit(0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, WUNTRACED), child);
  ASSERT_TRUE(WIFSTOPPED(status));
  std::vector<std::string> problems;
  const auto readings = read_ledgers(directory_, problems);
  ASSERT_THAT(readings, SizeIs(1));
  EXPECT_EQ(readings[0].process, ProcessState::kStopped);
  EXPECT_THAT(examine(readings, now_ns()).suspects, ElementsAre(0));
  EXPECT_THAT(explain_all(), ElementsAre(HasSubstr("is stopped (SIGSTOP) and is in phase")));
  kill(child, SIGKILL);
  waitpid(child, &status, 0);
}

TEST_F(LedgerTest, LeavesOutOtherJobsAndReplacesTheirFiles) {
  { Ledger old = make(0, 2, 5); }
  Ledger other = make(1, 2, 5);
  Ledger own = make(0, 2, 7);
  std::vector<std::string> problems;
  EXPECT_THAT(read_ledgers(directory_, problems, 7), SizeIs(1));
  EXPECT_THAT(read_ledgers(directory_, problems), SizeIs(2));
  EXPECT_THAT(problems, IsEmpty());
}

TEST_F(LedgerTest, RemovesItselfAndTheEmptyDirectory) {
  Ledger first = make(0, 2);
  Ledger second = make(1, 2);
  first.remove();
  EXPECT_FALSE(std::filesystem::exists(first.path()));
  EXPECT_TRUE(std::filesystem::exists(second.path()));
  OperationCounter counter;
  first.issued(counter, OperationKind::kAllReduce, {"after the end"});
  second.remove();
  EXPECT_FALSE(std::filesystem::exists(directory_));
}

TEST_F(LedgerTest, RefusesWhatIsNoLedger) {
  const Ledger good = make(0, 2);
  std::vector<std::byte> bytes = read_file(good.path());
  const std::filesystem::path path = directory_ / "x-rank-9";
  const auto refused = [&](const std::vector<std::byte>& content, const std::string& why) {
    write_file_durably(path, content);
    try {
      read_ledger(path);
      ADD_FAILURE() << why;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kBadData);
      EXPECT_THAT(error.what(), AllOf(HasSubstr(path.string()), HasSubstr(why)));
    }
  };
  refused({}, "0 bytes");
  refused({bytes.begin(), bytes.end() - 1}, "bytes, a ledger has");
  for (const auto& [at, why] : std::vector<std::pair<std::size_t, std::string>>{
           {0, "magic"}, {8, "version"}, {13, "entries"}, {19, "impossible"}, {23, "impossible"}}) {
    std::vector<std::byte> damaged = bytes;
    damaged[at] = std::byte{0x80};
    refused(damaged, why);
  }
  // One bad file among good ones is named and does not hide them.
  std::vector<std::string> problems;
  EXPECT_THAT(read_ledgers(directory_, problems), SizeIs(1));
  EXPECT_THAT(problems, ElementsAre(HasSubstr("x-rank-9")));
  EXPECT_THROW(read_ledger(directory_ / "none"), Error);
}

// Whatever the bytes, reading ends and gives no entry that lies.
TEST_F(LedgerTest, ReadsAnyEntriesWithoutHarm) {
  Ledger good = make(0, 2);
  std::vector<std::byte> bytes = read_file(good.path());
  const std::filesystem::path path = directory_ / "x-rank-1";
  for (unsigned seed = 0; seed < 50; ++seed) {
    std::srand(seed);
    for (std::size_t i = 32; i < bytes.size(); ++i) {
      bytes[i] = static_cast<std::byte>(std::rand());
    }
    // A count of entries that the loop over the ring can be led astray by.
    const std::uint64_t counts[] = {0, 1, Ledger::kCapacity, Ledger::kCapacity + 1,
                                    ~std::uint64_t{0}};
    std::memcpy(&bytes[40], &counts[seed % 5], sizeof(std::uint64_t));
    write_file_durably(path, bytes);
    std::vector<std::string> problems;
    // Random entries do not carry the numbers that their places ask for.
    EXPECT_THAT(read_ledger(path).entries, IsEmpty());
    EXPECT_FALSE(explain(read_ledgers(directory_, problems), now_ns()).empty());
  }
}

TEST_F(LedgerTest, NamesTheDirectoryItCannotUse) {
  try {
    Ledger ledger(directory_ / "missing", {0, 1, "host", 1});
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kCannotCreate);
    EXPECT_THAT(error.what(), HasSubstr((directory_ / "missing").string()));
  }
}

TEST_F(LedgerTest, CostsUnderAMicrosecond) {
  Ledger ledger = make(0, 1);
  OperationCounter counter;
  double best = 1;
  for (int repeat = 0; repeat < 5; ++repeat) {
    const Stopwatch stopwatch;
    for (int i = 0; i < 10'000; ++i) {
      ledger.issued(counter, OperationKind::kAllReduce, {"gradients", i, i});
    }
    best = std::min(best, stopwatch.seconds() / 10'000);
  }
  EXPECT_LT(best, 1e-6);
}

TEST(DescribeRanks, WritesRangesShort) {
  const auto describe_list = [](std::vector<int> ranks) { return describe_ranks(ranks); };
  EXPECT_EQ(describe_list({3}), "rank 3");
  EXPECT_EQ(describe_list({0, 1}), "ranks 0, 1");
  EXPECT_EQ(describe_list({0, 1, 2}), "ranks 0-2");
  EXPECT_EQ(describe_list({0, 2, 4, 5, 6, 7, 9}), "ranks 0, 2, 4-7, 9");
}

// Two jobs that are given one directory by a settings file.
TEST_F(LedgerTest, OfALivingProcessIsNotTakenAway) {
  std::array<int, 2> ready{};
  ASSERT_EQ(pipe(ready.data()), 0);
  const pid_t other = fork();
  if (other == 0) {
    const Ledger ledger = make(0, 2, 8);
    const char byte = 'x';
    if (write(ready[1], &byte, 1) == 1) pause();
    _exit(0);
  }
  char byte = 0;
  ASSERT_EQ(read(ready[0], &byte, 1), 1);
  try {
    make(0, 2);
    ADD_FAILURE() << "the ledger of another job was replaced";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kCannotCreate);
    EXPECT_THAT(error.what(), AllOf(HasSubstr(own_host() + "-rank-0"),
                                    HasSubstr("of process " + std::to_string(other))));
  }
  EXPECT_NO_THROW(make(1, 2));
  kill(other, SIGKILL);
  waitpid(other, nullptr, 0);
  EXPECT_NO_THROW(make(0, 2));
}

TEST_F(LedgerTest, ProcessNumbersOfAnotherContainerSayNothing) {
  const Ledger ledger = make(0, 1);
  EXPECT_EQ(read_ledger(ledger.path()).process, ProcessState::kAlive);
  std::vector<std::byte> bytes = read_file(ledger.path());
  LedgerHeader header{};
  std::memcpy(&header, bytes.data(), sizeof(header));
  EXPECT_NE(header.pid_namespace, 0u);
  ++header.pid_namespace;
  std::memcpy(bytes.data(), &header, sizeof(header));
  write_file_durably(ledger.path(), bytes);
  EXPECT_EQ(read_ledger(ledger.path()).process, ProcessState::kUnknown);
}

TEST(ProcessState, KnowsTheParent) {
  EXPECT_EQ(look_at_process(getpid()).parent, getppid());
  EXPECT_EQ(look_at_process(getpid()).state, ProcessState::kAlive);
}

}  // namespace
}  // namespace lockstep
