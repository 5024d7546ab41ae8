// The one sentence that ledgers lead to.
#include "lockstep/comm/ledger_conclusion.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <string>
#include <vector>

#include "lockstep/base/error.h"

namespace lockstep {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

constexpr std::int64_t kSecond = 1'000'000'000;

void add(LedgerReading& reading, LedgerEvent event, std::uint64_t operation, OperationKind kind,
         std::string_view name, int bucket, std::int64_t step) {
  LedgerEntry entry;
  entry.number = reading.entries.size() + 1;
  entry.operation = operation;
  entry.time_ns = static_cast<std::int64_t>(entry.number) * kSecond;
  entry.phase = Phase::kTraining;
  entry.event = event;
  entry.kind = kind;
  entry.bucket = bucket;
  entry.step = step;
  std::copy(name.begin(), name.end(), entry.name.begin());
  reading.entries.push_back(entry);
}

// A rank of four that has finished `done` all-reduces, one a step, and waits in the next if it is
// `waiting`.
LedgerReading rank_at(int rank, std::uint64_t done, bool waiting) {
  LedgerReading reading;
  reading.identity = {rank, 4, rank < 2 ? "node1" : "node2", 7};
  reading.pid = 100 + rank;
  reading.process = ProcessState::kGone;
  for (std::uint64_t n = 1; n <= done + (waiting ? 1 : 0); ++n) {
    const auto step = static_cast<std::int64_t>(n);
    add(reading, LedgerEvent::kIssued, n, OperationKind::kAllReduce, "gradients", 0, step);
    if (n > done) continue;
    add(reading, LedgerEvent::kFinished, n, OperationKind::kAllReduce, "gradients", 0, step);
  }
  return reading;
}

LedgerReading ended_by_launcher(LedgerReading reading) {
  reading.signal = DeadlySignal{15, 99, true};
  return reading;
}

LedgerReading ended(LedgerReading reading, int code, const std::string& words = {}) {
  reading.exit_code = code;
  reading.last_words = words;
  return reading;
}

std::string conclusion(const std::vector<LedgerReading>& readings) {
  return conclude(readings, 100 * kSecond);
}

TEST(Conclude, ARankThatWasKilled) {
  EXPECT_EQ(
      conclusion({ended_by_launcher(rank_at(0, 4, true)), rank_at(1, 4, true),
                  ended_by_launcher(rank_at(2, 4, true)), ended_by_launcher(rank_at(3, 4, true))}),
      "rank 1 (node1) died without a word (SIGKILL or want of memory) in all_reduce "
      "'gradients' bucket 0 of step 5; ranks 0, 2, 3 waited for it");
}

TEST(Conclude, ARankThatWasKilledBeforeTheOperation) {
  EXPECT_EQ(
      conclusion({ended_by_launcher(rank_at(0, 4, true)), rank_at(1, 4, false),
                  ended_by_launcher(rank_at(2, 4, true)), ended_by_launcher(rank_at(3, 4, true))}),
      "rank 1 (node1) died without a word (SIGKILL or want of memory) in phase training, "
      "after all_reduce 'gradients' bucket 0 of step 4; ranks 0, 2, 3 waited for it in "
      "all_reduce 'gradients' bucket 0 of step 5");
}

TEST(Conclude, WhenNobodyLeftAWordTheOneThatDidNotWaitIsTheFirst) {
  EXPECT_THAT(conclusion({rank_at(0, 4, true), rank_at(1, 4, true), rank_at(2, 4, false),
                          rank_at(3, 4, true)}),
              AllOf(StartsWith("rank 2 (node2) died"), HasSubstr("ranks 0, 1, 3 waited for it")));
  // All alike: nothing tells them apart.
  EXPECT_THAT(conclusion({rank_at(0, 4, true), rank_at(1, 4, true)}),
              StartsWith("ranks 0, 1 (node1) died"));
}

TEST(Conclude, AFailureWithItsReason) {
  EXPECT_EQ(
      conclusion({ended(rank_at(0, 4, true), 69, "rank 2 is missing"),
                  ended(rank_at(1, 4, true), 69), ended(rank_at(2, 4, false), 74, "/x: full\nmore"),
                  ended_by_launcher(rank_at(3, 4, true))}),
      "rank 2 (node2) ended with exit code 74 (a read or write failed (disk full)) in phase "
      "training, after all_reduce 'gradients' bucket 0 of step 4: /x: full; ranks 0, 1, 3 "
      "waited for it in all_reduce 'gradients' bucket 0 of step 5");
}

TEST(Conclude, ADeadlySignalOfItsOwn) {
  LedgerReading reading = rank_at(1, 4, false);
  reading.signal = DeadlySignal{11, 0, false};
  EXPECT_THAT(conclusion({ended_by_launcher(rank_at(0, 4, true)), reading}),
              StartsWith("rank 1 (node1) died of SIGSEGV in phase training"));
}

TEST(Conclude, AStoppedRankAndOneThatIsMerelyBehind) {
  std::vector<LedgerReading> readings{rank_at(0, 4, true), rank_at(1, 4, false)};
  for (LedgerReading& reading : readings) reading.process = ProcessState::kAlive;
  EXPECT_THAT(conclusion(readings),
              AllOf(StartsWith("rank 1 (node1) is behind in phase training, after"),
                    HasSubstr("; rank 0 waited for it in all_reduce")));
  readings[1].process = ProcessState::kStopped;
  EXPECT_THAT(conclusion(readings), StartsWith("rank 1 (node1) is stopped (SIGSTOP)"));
}

// mpirun's end lets a stopped rank go on, and it comes to where the others have been.
TEST(Conclude, AStoppedRankThatCaughtUpWhenItWasEnded) {
  LedgerReading waiting = ended(rank_at(0, 4, true), 69, "rank 1 is stopped");
  waiting.end_ns = 20 * kSecond;
  LedgerReading stopped = ended_by_launcher(rank_at(1, 4, true));
  stopped.entries.back().time_ns = 21 * kSecond;
  EXPECT_EQ(conclusion({waiting, stopped}),
            "rank 1 (node1) was behind in phase training, after all_reduce 'gradients' bucket 0 of "
            "step 4; rank 0 waited for it in all_reduce 'gradients' bucket 0 of step 5");
  // Another host's clock tells nothing, nor does one that ended without having waited.
  stopped.identity.host = "node2";
  EXPECT_THAT(conclusion({waiting, stopped}), Not(HasSubstr("was behind")));
  LedgerReading failed = ended(rank_at(0, 4, false), 69, "no memory");
  failed.end_ns = 5 * kSecond;
  stopped.identity.host = "node1";
  EXPECT_THAT(conclusion({failed, stopped}), StartsWith("rank 0 (node1) ended with exit code 69"));
}

TEST(Conclude, CopiesFromOtherHosts) {
  std::vector<LedgerReading> readings{ended(rank_at(0, 4, true), 69), rank_at(1, 4, true),
                                      ended_by_launcher(rank_at(2, 4, true)),
                                      ended_by_launcher(rank_at(3, 4, true))};
  for (LedgerReading& reading : readings) reading.process = ProcessState::kUnknown;
  EXPECT_THAT(conclusion(readings), StartsWith("rank 1 (node1) left no word in all_reduce"));
}

TEST(Conclude, RanksWithoutLedger) {
  EXPECT_EQ(
      conclusion({ended_by_launcher(rank_at(0, 4, true)), ended_by_launcher(rank_at(1, 4, true))}),
      "ranks 0, 1 (node1) waited in all_reduce 'gradients' bucket 0 of step 5 for ranks 2, "
      "3, without a ledger here");
}

TEST(Conclude, NothingIsWrong) {
  std::vector<LedgerReading> readings;
  for (int rank = 0; rank < 4; ++rank) {
    readings.push_back(rank_at(rank, 4, true));
    readings.back().process = ProcessState::kAlive;
  }
  EXPECT_EQ(conclusion(readings),
            "ranks 0-3 (node1, node2) at work in all_reduce 'gradients' bucket 0 of step 5");
  for (LedgerReading& reading : readings) reading.exit_code = 0;
  EXPECT_THAT(conclusion(readings), AllOf(StartsWith("ranks 0-3 (node1, node2) ended with exit "
                                                     "code 0 (done)"),
                                          Not(HasSubstr("waited"))));
  EXPECT_EQ(conclusion({}), "there is no ledger");
  LedgerReading nothing = rank_at(0, 0, false);
  nothing.process = ProcessState::kAlive;
  EXPECT_EQ(conclusion({nothing}), "rank 0 (node1) at work before it recorded anything");
}

}  // namespace
}  // namespace lockstep
