// The world and its control plane, at several numbers of ranks.
#include "lockstep/comm/world.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <bit>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "comm/float16.h"
#include "comm/world_impl.h"
#include "lockstep/base/clock.h"
#include "lockstep/base/error.h"
#include "lockstep/comm/collectives.h"
#include "lockstep/comm/compare.h"
#include "lockstep/comm/decorators.h"

namespace lockstep {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::StartsWith;

World start_world(CommOptions options = {}) {
  int argc = 0;
  char** argv = nullptr;
  return World::start(argc, argv, options);
}

TEST(World, KnowsItsRanks) {
  World world = start_world();
  std::vector<int> ranks = world.all_gather_value(world.rank());
  for (int rank = 0; rank < world.size(); ++rank) {
    EXPECT_EQ(ranks[static_cast<std::size_t>(rank)], rank);
    EXPECT_EQ(world.host_of(rank), world.host());  // the tests run on one machine
  }
  EXPECT_EQ(world.is_root(), world.rank() == 0);
  EXPECT_EQ(world.local_rank(), world.rank());
  EXPECT_EQ(world.local_size(), world.size());
  EXPECT_FALSE(world.host().empty());
  EXPECT_THROW(world.host_of(world.size()), Error);
}

TEST(World, BroadcastsFromEveryRoot) {
  World world = start_world();
  for (int root = 0; root < world.size(); ++root) {
    EXPECT_EQ(world.broadcast_value(100 + world.rank(), root), 100 + root);
    const auto text_of = [](int rank) {
      // None, one, and more bytes than any eager message holds; with zeros in between.
      std::string text(rank == 0 ? 0 : rank == 1 ? 1 : 1'000'000, 'a');
      if (!text.empty()) text.back() = '\0';
      return text;
    };
    EXPECT_EQ(world.broadcast_text(text_of(world.rank()), root), text_of(root));
    EXPECT_EQ(world.broadcast_text(text_of(2 - world.rank() % 3), root), text_of(2 - root % 3));
  }
}

TEST(World, GathersAnySizesInRankOrder) {
  World world = start_world();
  for (int root = 0; root < world.size(); ++root) {
    const auto bytes_of = [](int rank) {
      return std::vector<std::byte>(static_cast<std::size_t>(rank) * 300'000,
                                    static_cast<std::byte>(rank));
    };
    std::vector<std::vector<std::byte>> gathered = {{}};
    world.gather_bytes(bytes_of(world.rank()), gathered, root);
    if (world.rank() != root) {
      EXPECT_THAT(gathered, IsEmpty());
    } else {
      ASSERT_THAT(gathered, SizeIs(world.size()));
      for (int rank = 0; rank < world.size(); ++rank) {
        EXPECT_EQ(gathered[static_cast<std::size_t>(rank)], bytes_of(rank));
      }
    }
    const auto texts = world.gather_text("rank " + std::to_string(world.rank()), root);
    ASSERT_THAT(texts, SizeIs(world.rank() == root ? world.size() : 0));
    for (std::size_t i = 0; i < texts.size(); ++i) EXPECT_EQ(texts[i], "rank " + std::to_string(i));
  }
  const auto everywhere = world.all_gather_bytes(
      std::vector<std::byte>(static_cast<std::size_t>(world.rank()), std::byte{7}));
  for (int rank = 0; rank < world.size(); ++rank) {
    EXPECT_THAT(everywhere[static_cast<std::size_t>(rank)],
                AllOf(SizeIs(rank), Each(std::byte{7})));
  }
}

TEST(World, ReducesIntegers) {
  World world = start_world();
  const std::int64_t big = std::int64_t{1} << 60;
  EXPECT_EQ(world.all_reduce_max(-big - world.rank()), -big);
  EXPECT_EQ(world.all_reduce_max(world.rank() == world.size() - 1 ? big : 0), big);
  EXPECT_EQ(world.all_reduce_sum(world.rank() - big / 8),
            world.size() * (world.size() - 1) / 2 - world.size() * (big / 8));
}

TEST(World, FindsTheRanksThatDiffer) {
  World world = start_world();
  const auto compare = [&](const std::string& text) {
    return ranks_that_differ(world, std::as_bytes(std::span(text)));
  };
  EXPECT_THAT(compare("equal"), IsEmpty());
  EXPECT_THAT(compare(""), IsEmpty());
  const int last = world.size() - 1;
  EXPECT_EQ(compare(world.rank() == last ? "other" : "equal"),
            last > 0 ? std::vector<int>{last} : std::vector<int>{});
  EXPECT_EQ(compare(world.is_root() ? "equal" : "equal, and more").size(),
            static_cast<std::size_t>(last));
}

TEST(World, AgreesOnTheFailureOfTheLowestRank) {
  World world = start_world();
  EXPECT_EQ(world.agree(std::nullopt), std::nullopt);
  const int last = world.size() - 1;
  std::optional<World::Failure> own;
  if (world.rank() == last) own = {ExitCode::kBadData, "line 3: a 12 where\na label should be"};
  const auto agreed = world.agree(own);
  ASSERT_TRUE(agreed);
  EXPECT_EQ(agreed->first, ExitCode::kBadData);
  EXPECT_EQ(agreed->second, "rank " + std::to_string(last) + " (" + world.host() +
                                "): line 3: a 12 where\na label should be");
  const auto all_fail = world.agree(World::Failure(
      world.rank() == 0 ? ExitCode::kInputOutput : ExitCode::kBadData, std::string()));
  ASSERT_TRUE(all_fail);
  EXPECT_EQ(all_fail->first, ExitCode::kInputOutput);
  EXPECT_THAT(all_fail->second, StartsWith("rank 0 "));
  EXPECT_EQ(world.agree(std::nullopt), std::nullopt);
}

// Where a rank was is said of what only that rank can have met, and of everything once steps go on.
TEST(World, AFailureSaysWhereItsRankWas) {
  World world = start_world();
  const std::string name = "rank 0 (" + world.host() + ")";
  const auto message = [&](ExitCode code) {
    return world.agree(World::Failure(code, "why"))->second;
  };
  EXPECT_EQ(message(ExitCode::kInputOutput), name + ": why");
  EXPECT_THAT(message(ExitCode::kInternal),
              AllOf(StartsWith(name + ", in phase "), HasSubstr("'agree'"), EndsWith(": why")));
  world.enter_phase(Phase::kCheckpoint);
  world.at_step(7);
  EXPECT_EQ(world.step(), 7);
  EXPECT_THAT(
      message(ExitCode::kInputOutput),
      AllOf(StartsWith(name + ", in phase checkpoint of step 7, after "), EndsWith(": why")));
}

TEST(World, SplitsIntoWorlds) {
  World world = start_world();
  const int color = world.rank() % 2;
  World part = world.split(color, -world.rank());  // in reverse order
  const int members = (world.size() + 1 - color) / 2;
  ASSERT_EQ(part.size(), members);
  EXPECT_EQ(part.rank(), members - 1 - world.rank() / 2);
  EXPECT_EQ(part.all_reduce_sum(world.rank()), members * (members - 1) + members * color);
  EXPECT_EQ(part.broadcast_value(world.rank()), (members - 1) * 2 + color);
  const int first = part.size() - 1;  // the lowest number in the job
  EXPECT_EQ(part.name_ranks(std::vector<int>{first}),
            "rank " + std::to_string(color) + " (" + world.host() + ")");
  World again = part.split(part.rank(), 0);
  EXPECT_EQ(again.size(), 1);
  again.barrier();
}

TEST(World, NamesTheRanksThatDoNotCome) {
  World world = start_world();
  if (world.size() == 1) GTEST_SKIP() << "needs a rank to wait for";
  World part = world.split(0, 0);
  part.enter_phase(Phase::kDataCheck, 0.3);
  const int last = world.size() - 1;
  const std::string missing = " s: rank " + std::to_string(last) + " (" + world.host();
  if (world.rank() != last) {
    const Stopwatch stopwatch;
    try {
      part.barrier();
      ADD_FAILURE() << "a barrier without rank " << last;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kUnavailable);
      EXPECT_THAT(error.what(),
                  AllOf(HasSubstr("control 'barrier': missing after"), HasSubstr(missing)));
      EXPECT_EQ(std::string(error.what()).find(", rank"), std::string::npos) << error.what();
    }
    EXPECT_LT(stopwatch.seconds(), 3);
    // What follows cannot be in step any more, and says so at once.
    const Stopwatch again;
    EXPECT_THROW(part.barrier(), Error);
    EXPECT_LT(again.seconds(), 0.1);
  }
  world.enter_phase(Phase::kTraining);
  world.barrier();
  if (world.rank() == last) {
    // Who comes late is told what has happened.
    part.enter_phase(Phase::kDataCheck, 5);
    const Stopwatch stopwatch;
    try {
      part.barrier();
      ADD_FAILURE() << "a barrier after the others had given up";
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), AllOf(HasSubstr(missing), HasSubstr("says rank 0")));
    }
    EXPECT_LT(stopwatch.seconds(), 1);
  }
  world.enter_phase(Phase::kTraining);
  world.barrier();
}

TEST(World, NamesTheRootThatDoesNotCome) {
  World world = start_world();
  if (world.size() == 1) GTEST_SKIP() << "needs a rank to wait for";
  World part = world.split(0, 0);
  part.enter_phase(Phase::kValidation, 0.2);
  if (world.rank() != 0) {
    try {
      part.broadcast_value(1);
      ADD_FAILURE();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kUnavailable);
      EXPECT_THAT(error.what(), HasSubstr("nothing from rank 0 (" + world.host()));
    }
  }
  world.enter_phase(Phase::kTraining);
  world.barrier();
}

// The root comes late, someone else never: the others, who have waited longest, blame the right
// one.
TEST(World, NamesTheRightRankWhenTheRootIsLateToo) {
  World world = start_world();
  if (world.size() < 3) GTEST_SKIP() << "needs a root, one who waits and one who is missing";
  World part = world.split(0, 0);
  part.enter_phase(Phase::kValidation, 0.4);
  const int last = world.size() - 1;
  if (world.rank() != last) {
    if (world.is_root()) std::this_thread::sleep_for(std::chrono::milliseconds(250));
    try {
      part.barrier();
      ADD_FAILURE();
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr(" s: rank " + std::to_string(last) + " ("));
    }
  }
  world.enter_phase(Phase::kTraining);
  world.barrier();
}

TEST(World, FindsOutThatRanksCallDifferentOperations) {
  World world = start_world();
  if (world.size() == 1) GTEST_SKIP() << "needs two ranks to differ";
  World part = world.split(0, 0);
  part.enter_phase(Phase::kTraining, 2);
  try {
    if (world.rank() == world.size() - 1) {
      part.agree(std::nullopt);
    } else {
      part.barrier();
    }
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(),
                AllOf(HasSubstr("out of step"), HasSubstr("'agree'"), HasSubstr("'barrier'")));
  }
  world.enter_phase(Phase::kTraining);
  world.barrier();
}

TEST(World, WaitsForALateRankThatPublishesProgress) {
  World world = start_world();
  world.enter_phase(Phase::kCheckpoint, 0.25);
  if (world.is_root()) {
    const Stopwatch stopwatch;
    while (stopwatch.seconds() < 0.6) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      world.publish_progress();
    }
  }
  EXPECT_EQ(world.broadcast_value(world.rank() + 5), 5);
  world.barrier();
}

// It reaches those who wait for the root by way of the root, which waits itself.
TEST(World, WaitsForAnyLateRankThatPublishesProgress) {
  World world = start_world();
  world.enter_phase(Phase::kTraining, 0.25);
  if (world.rank() == world.size() - 1) {
    const Stopwatch stopwatch;
    while (stopwatch.seconds() < 1.0) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      world.publish_progress();
    }
  }
  world.barrier();
  world.enter_phase(Phase::kTraining);
  world.barrier();
}

// A part of the ranks works on, without a word to those who wait for it.
TEST(World, WaitsForAPartThatWorks) {
  World world = start_world();
  World part = world.split(world.is_root() ? 0 : 1, 0);
  world.enter_phase(Phase::kTraining, 0.25);
  if (world.is_root()) {
    const auto collectives = make_collectives(part, {}, false, nullptr);
    const Stopwatch stopwatch;
    while (stopwatch.seconds() < 0.6) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      float value = 1;
      collectives->all_reduce({&value, 1, DataType::kFloat32}, ReduceOp::kSum, {"gradients"})
          ->wait();
    }
  }
  world.barrier();
  world.enter_phase(Phase::kTraining);
  world.barrier();
}

// The root of all waits in a part of them for one that works on; a third waits for both in the
// whole.
TEST(World, WaitsForARankOfAPartThatPublishesProgress) {
  World world = start_world();
  if (world.size() < 3) GTEST_SKIP() << "needs two ranks in a part and one outside";
  World part = world.split(world.rank() < 2 ? 0 : 1, 0);
  world.enter_phase(Phase::kTraining, 0.25);
  part.enter_phase(Phase::kTraining, 0.25);
  if (world.rank() == 1) {
    const Stopwatch stopwatch;
    while (stopwatch.seconds() < 1.0) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      part.publish_progress();
    }
  }
  part.barrier();
  world.barrier();
  world.enter_phase(Phase::kTraining);
  world.barrier();
}

// Callbacks of any loop may call it: it neither costs much nor pushes operations out of the ledger.
TEST(World, PublishesProgressCheaply) {
  World world = start_world();
  const int calls = 100'000;
  const Stopwatch stopwatch;
  const std::function<void()> callback = [&] { world.publish_progress(); };
  for (int i = 0; i < calls; ++i) callback();
  EXPECT_LT(stopwatch.seconds() / calls, 5e-6);  // some tens of nanoseconds where nobody interferes
  EXPECT_GT(read_ledger(world.ledger().path()).last_operation(), 0u);
  world.barrier();
}

// Open MPI's own way with an error is to end the job.
TEST(World, TurnsErrorsOfMpiIntoErrorsOfLockstep) {
  World world = start_world();
  const Communicator comm = world.impl().duplicate();
  try {
    check_mpi(MPI_Send(nullptr, 0, MPI_BYTE, world.size() + 5, 0, comm.get()), "MPI_Send");
    ADD_FAILURE() << "sent to a rank that does not exist";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUnavailable);
    EXPECT_THAT(error.what(), AllOf(StartsWith("MPI_Send failed: "), HasSubstr("rank")));
  }
}

TEST(World, RecordsInTheLedgerAndRemovesItInTheEnd) {
  const std::filesystem::path directory =
      std::filesystem::path(::testing::TempDir()) /
      ("world-ledgers-" + std::to_string(start_world().broadcast_value(getpid())));
  {
    CommOptions options;
    options.ledger_dir = directory;
    World world = start_world(options);
    world.enter_phase(Phase::kEvaluation);
    world.barrier();
    std::vector<std::string> problems;
    const auto readings = read_ledgers(directory, problems);
    EXPECT_THAT(problems, IsEmpty());
    ASSERT_THAT(readings, SizeIs(world.size()));
    for (int rank = 0; rank < world.size(); ++rank) {
      const LedgerReading& reading = readings[static_cast<std::size_t>(rank)];
      EXPECT_EQ(reading.identity.rank, rank);
      EXPECT_EQ(reading.identity.job, world.ledger().identity().job);
    }
    const LedgerReading own = read_ledger(world.ledger().path());
    EXPECT_EQ(own.entries.back().event, LedgerEvent::kFinished);
    EXPECT_EQ(own.entries.back().phase, Phase::kEvaluation);
    EXPECT_STREQ(own.entries.back().name.data(), "barrier");
    world.barrier();
  }
  start_world().barrier();
  EXPECT_FALSE(std::filesystem::exists(directory));
}

TEST(World, AgreesOnALedgerDirectoryThatCannotBeMade) {
  World world = start_world();
  CommOptions options;
  options.ledger_dir = world.rank() == world.size() - 1 ? "/proc/none/ledgers" : "";
  try {
    start_world(options);
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kCannotCreate);
    EXPECT_THAT(error.what(), HasSubstr("/proc/none/ledgers"));
    if (world.size() > 1) {
      EXPECT_THAT(error.what(), HasSubstr("rank " + std::to_string(world.size() - 1)));
    }
  }
}

TEST(MakeCollectives, SaysWhyABackendDoesNotFit) {
  World world = start_world();
  const auto refusal = [&](const char* backend, bool device_buffers) -> std::string {
    CommOptions options;
    options.backend = backend;
    try {
      make_collectives(world, options, device_buffers, nullptr);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kUsage);
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(refusal("auto", false), "");
  EXPECT_EQ(refusal("mpi", false), "");
  EXPECT_THAT(refusal("mpi", true), HasSubstr("--backend mpi moves host memory"));
  EXPECT_THAT(refusal("nccl", false), HasSubstr("--backend nccl"));
  EXPECT_THAT(refusal("ncl", false), HasSubstr("did you mean nccl?"));
  EXPECT_THAT(refusal("", false), HasSubstr("expected auto, mpi or nccl"));
  world.barrier();
}

TEST(Faulty, CorruptsOneResultOnOneRank) {
  World world = start_world();
  const auto collectives =
      make_faulty(make_collectives(world, {}, false, nullptr),
                  FaultPlan::parse("flip@all-reduce:rank=0,pass=2"), world.rank());
  for (int operation = 0; operation < 3; ++operation) {
    std::int32_t value = 2;
    collectives->all_reduce({&value, 1, DataType::kInt32}, ReduceOp::kSum, {"value"})->wait();
    const int corrupted = world.rank() == 0 && operation == 1 ? 1 : 0;
    EXPECT_EQ(value, (2 * world.size()) ^ corrupted);
  }
}

TEST(Faulty, WhatIsNotFiniteIsSoInTheTypeThatTravels) {
  World world = start_world();
  const auto first_of = [](std::uint32_t word, DataType type) {
    if (type == DataType::kFloat32) return std::bit_cast<float>(word);
    const auto half = static_cast<std::uint16_t>(word & 0xffffu);  // the first on little-endian
    return type == DataType::kFloat16 ? widen_float16(half) : widen_bfloat16(half);
  };
  for (const std::string kind : {"nan", "inf"}) {
    for (const DataType type : {DataType::kFloat32, DataType::kFloat16, DataType::kBfloat16}) {
      const auto collectives =
          make_faulty(make_collectives(world, {}, false, nullptr),
                      FaultPlan::parse(kind + "@all-reduce:rank=all,pass=1"), world.rank());
      std::uint32_t word = 0;
      const Buffer buffer{&word, sizeof(word) / size_of(type), type};
      collectives->all_reduce(buffer, ReduceOp::kSum, {"value"})->wait();
      EXPECT_EQ(std::isnan(first_of(word, type)), kind == "nan");
      EXPECT_EQ(std::isinf(first_of(word, type)), kind == "inf");
    }
  }
}

TEST(Faulty, ThrowsAtTheOperationItWasToldTo) {
  World world = start_world();
  const auto collectives =
      make_faulty(make_collectives(world, {}, false, nullptr),
                  FaultPlan::parse("throw@all-reduce:rank=all,pass=3; "
                                   "slow@all-reduce:rank=all,pass=2,seconds=0.05"),
                  world.rank());
  std::int32_t value = 1;
  const Buffer buffer{&value, 1, DataType::kInt32};
  collectives->broadcast(buffer, 0, {"first"})->wait();
  const Stopwatch stopwatch;
  collectives->all_reduce(buffer, ReduceOp::kMax, {"second"})->wait();
  EXPECT_GE(stopwatch.seconds(), 0.05);
  EXPECT_THROW(collectives->broadcast(buffer, 0, {"third"}), std::runtime_error);
  collectives->broadcast(buffer, 0, {"fourth"})->wait();
}

}  // namespace
}  // namespace lockstep
