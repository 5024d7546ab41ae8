#include "lockstep/checkpoint/writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <future>
#include <new>
#include <semaphore>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "checkpoint_samples.h"
#include "expect_error.h"
#include "fault_points.h"
#include "lockstep/base/clock.h"
#include "store_scenarios.h"
#include "temporary_directory.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;
using std::chrono_literals::operator""ms;
using test::expect_error;
using test::Fault;
using test::FaultScope;
using test::files_of;
using test::holds_files_of;
using test::kKeepOne;
using test::kScenarios;
using test::Scenario;

// Longer than anything takes that is not stopped, and how long it is watched that something is.
constexpr auto kLong = std::chrono::seconds(60);
constexpr auto kMoment = 60ms;

// Where a save comes to be held, and goes on when it is let.
class Gate {
 public:
  ~Gate() { open(); }
  // In the writer's thread, at every sign of progress: stops at the first.
  void pass() {
    if (!std::exchange(reached_once_, true)) {
      reached_.release();
      opened_.acquire();
    }
  }
  bool wait_until_reached() { return reached_.try_acquire_for(kLong); }
  void open() {
    if (!std::exchange(open_, true)) opened_.release();
  }

 private:
  std::binary_semaphore reached_{0};
  std::binary_semaphore opened_{0};
  bool reached_once_ = false;
  bool open_ = false;
};

class Writer : public testing::Test {
 protected:
  static void begin(CheckpointWriter& writer, std::int64_t step,
                    std::function<void()> progress = {}) {
    writer.files() = files_of(step);
    writer.start({.global_step = step, .best = step, .progress = std::move(progress)});
  }

  void expect_saved(std::int64_t step) {
    const auto directory = store_.find(step);
    ASSERT_TRUE(directory.has_value()) << "step " << step;
    EXPECT_TRUE(holds_files_of(load_checkpoint(*directory), step));
  }

  test::TemporaryDirectory run_;
  CheckpointStore store_{run_ / "checkpoints"};
};

TEST_F(Writer, SavesWhatItWasGiven) {
  CheckpointWriter writer(store_);
  writer.wait();
  for (std::int64_t step = 1; step <= 3; ++step) {
    begin(writer, step);
    writer.wait();
    EXPECT_FALSE(writer.failed());
    expect_saved(step);
    EXPECT_EQ(store_.latest(), store_.find(step));
    EXPECT_EQ(store_.best(), store_.find(step));
  }
}

TEST_F(Writer, WorksInItsOwnThreadAndInOrder) {
  CheckpointWriter writer(store_);
  std::vector<std::string> events;  // the writer's until wait() has returned
  std::vector<std::thread::id> threads;
  const auto note = [&](const char* event) {
    if (events.empty() || events.back() != event) events.emplace_back(event);
    threads.push_back(std::this_thread::get_id());
  };
  writer.files() = files_of(1);
  writer.start({.global_step = 1,
                .before =
                    [&] {
                      EXPECT_FALSE(fs::exists(run_ / "checkpoints"));
                      note("before");
                    },
                .progress = [&] { note("progress"); }});
  writer.wait();
  EXPECT_THAT(events, testing::ElementsAre("before", "progress"));
  EXPECT_THAT(threads, testing::Not(testing::Contains(std::this_thread::get_id())));
  EXPECT_THAT(threads, testing::Each(threads.front()));
}

TEST_F(Writer, DoesNotKeepItsOwnerWaiting) {
  CheckpointWriter writer(store_);
  Gate gate;
  begin(writer, 1, [&] { gate.pass(); });
  ASSERT_TRUE(gate.wait_until_reached());
  EXPECT_FALSE(writer.failed());
  // One at a time: what is being written is nobody's to touch.
  expect_error(ExitCode::kInternal, "being written", [&] { writer.files(); });
  expect_error(ExitCode::kInternal, "before the last one", [&] { writer.start({}); });
  gate.open();
  writer.wait();
  expect_saved(1);
}

TEST_F(Writer, TheNextSaveWaitsForTheOneBefore) {
  CheckpointWriter writer(store_);
  Gate gate;
  begin(writer, 1, [&] { gate.pass(); });
  ASSERT_TRUE(gate.wait_until_reached());
  auto owner = std::async(std::launch::async, [&] {
    writer.wait();
    begin(writer, 2);
    writer.wait();
  });
  EXPECT_EQ(owner.wait_for(kMoment), std::future_status::timeout);
  EXPECT_FALSE(fs::exists(run_ / "checkpoints" / "step-00000001"));
  gate.open();
  owner.get();
  expect_saved(1);
  expect_saved(2);
}

TEST_F(Writer, TellsOfProgressOnlyWhileThereIsSome) {
  CheckpointWriter writer(store_);
  std::atomic<int> signs{0};
  Gate gate;
  begin(writer, 1, [&] {
    gate.pass();
    std::this_thread::sleep_for(30ms);
  });
  ASSERT_TRUE(gate.wait_until_reached());
  EXPECT_GE(writer.silent_seconds(), 0);
  auto owner = std::async(std::launch::async, [&] { writer.wait([&] { ++signs; }); });
  std::this_thread::sleep_for(kMoment);
  const double silent = writer.silent_seconds();
  EXPECT_GE(silent, std::chrono::duration<double>(kMoment).count());
  const int before = signs;
  std::this_thread::sleep_for(kMoment);
  EXPECT_EQ(signs, before);  // it hangs
  EXPECT_LE(before, 1);
  EXPECT_GT(writer.silent_seconds(), silent);
  gate.open();
  owner.get();
  EXPECT_GT(signs, before + 2);
  EXPECT_EQ(writer.silent_seconds(), 0);
}

TEST_F(Writer, AProgressThatThrowsLeavesTheSaveAlone) {
  CheckpointWriter writer(store_);
  begin(writer, 1, [] { std::this_thread::sleep_for(25ms); });
  EXPECT_THROW(writer.wait([] { throw std::runtime_error("the network is gone"); }),
               std::runtime_error);
  writer.wait();
  expect_saved(1);
}

TEST_F(Writer, AFailureIsThrownOnceAndTheOlderOneStays) {
  CheckpointWriter writer(store_);
  begin(writer, 1);
  writer.wait();
  const auto fails_with = [&](ExitCode code, const std::string& text, auto&& failure) {
    begin(writer, 2, failure);
    const Stopwatch watch;
    while (!writer.failed() && watch.seconds() < 60) std::this_thread::yield();
    EXPECT_TRUE(writer.failed());
    expect_error(ExitCode::kInternal, "before the last one", [&] { writer.start({}); });
    expect_error(code, text, [&] { writer.wait(); });
    EXPECT_FALSE(writer.failed());
    writer.wait();
    EXPECT_FALSE(store_.find(2).has_value());
    expect_saved(1);
  };
  fails_with(ExitCode::kInputOutput, "disk full",
             [] { fail(ExitCode::kInputOutput, "disk full"); });
  fails_with(ExitCode::kInternal, "what else", [] { throw std::runtime_error("what else"); });
  fails_with(ExitCode::kUnavailable, "memory", [] { throw std::bad_alloc(); });
  begin(writer, 2);
  writer.wait();
  expect_saved(2);
}

TEST_F(Writer, NothingIsSavedWhenWhatComesBeforeFails) {
  CheckpointWriter writer(store_);
  writer.files() = files_of(1);
  writer.start({.global_step = 1, .before = [] { fail(ExitCode::kInputOutput, "the records"); }});
  expect_error(ExitCode::kInputOutput, "the records", [&] { writer.wait(); });
  EXPECT_FALSE(fs::exists(run_ / "checkpoints"));
}

TEST_F(Writer, WhatFailsAfterTheSaveLeavesIt) {
  CheckpointWriter writer(store_);
  writer.files() = files_of(1);
  writer.start({.global_step = 1, .after = [this] {
                  expect_saved(1);
                  fail(ExitCode::kCannotCreate, "the records");
                }});
  expect_error(ExitCode::kCannotCreate, "the records", [&] { writer.wait(); });
  expect_saved(1);
}

TEST_F(Writer, ItsEndWaitsForTheSave) {
  for (std::int64_t step = 1; step <= 20; ++step) {
    CheckpointWriter writer(store_);
    begin(writer, step, [&, n = 0]() mutable {
      if (n++ == step % 7) std::this_thread::sleep_for(1ms);
    });
  }
  expect_saved(20);
  // What nobody asked about is said, and no reason to end the process.
  testing::internal::CaptureStderr();
  {
    CheckpointWriter writer(store_);
    begin(writer, 21, [] { fail(ExitCode::kInputOutput, "nobody asked"); });
  }
  EXPECT_THAT(testing::internal::GetCapturedStderr(), testing::HasSubstr("warning: nobody asked"));
}

TEST_F(Writer, TheMemoryOfTheLastSaveIsUsedAgain) {
  CheckpointWriter writer(store_);
  writer.files() = files_of(1);
  const std::byte* const memory = writer.files().front().bytes.data();
  writer.start({.global_step = 1});
  writer.wait();
  EXPECT_EQ(writer.files().size(), files_of(1).size());
  EXPECT_EQ(writer.files().front().bytes.data(), memory);
}

TEST_F(Writer, SignalsAreForOthers) {
  CheckpointWriter writer(store_);
  sigset_t mask;
  begin(writer, 1, [&] { ::pthread_sigmask(SIG_SETMASK, nullptr, &mask); });
  writer.wait();
  for (const int signal : {SIGUSR1, SIGUSR2, SIGTERM, SIGINT, SIGALRM}) {
    EXPECT_EQ(sigismember(&mask, signal), 1) << signal;
  }
  // Those of a bug of its own end the process as they would from any thread, with last words.
  for (const int signal : {SIGSEGV, SIGABRT, SIGBUS}) EXPECT_EQ(sigismember(&mask, signal), 0);
}

// At every system call of a save in turn.
class WriterFaults : public testing::TestWithParam<Scenario> {
 protected:
  // What a save throws in which the call of index `at` meets the fault, and whether it met it.
  template <typename Save>
  std::pair<std::string, bool> attempt(Fault fault, int at, int error_number, Save&& save) {
    const test::TemporaryDirectory run;
    const fs::path directory = run / "checkpoints";
    GetParam().prepare(directory);
    CheckpointStore store(directory, kKeepOne);
    std::string text = "none";
    bool reached = false;
    {
      const FaultScope faults(fault, at, error_number);
      try {
        save(store);
      } catch (const Error& error) {
        text = std::to_string(static_cast<int>(error.code())) + ' ' + error.what();
      }
      reached = faults.reached();
    }
    for (std::size_t found = 0; (found = text.find(run.path())) != std::string::npos;) {
      text.replace(found, run.path().string().size(), "RUN");
    }
    return {text, reached};
  }

  static void save_in_background(CheckpointStore& store) {
    CheckpointWriter writer(store);
    writer.files() = files_of(3);
    writer.start({.global_step = 3, .best = GetParam().best_step()});
    writer.wait();
  }
};

TEST_P(WriterFaults, AreThoseOfASaveWithoutAThread) {
  int failures = 0;
  for (const auto& [fault, error_number] :
       {std::pair(Fault::kError, EROFS), std::pair(Fault::kDiskFull, 0)}) {
    bool reached = true;
    for (int at = 0; reached; ++at) {
      SCOPED_TRACE("call " + std::to_string(at));
      ASSERT_LT(at, 200) << "no end of calls";
      const auto expected = attempt(fault, at, error_number, [](CheckpointStore& store) {
        store.save(3, files_of(3), GetParam().best_step());
      });
      EXPECT_EQ(attempt(fault, at, error_number, save_in_background), expected);
      failures += expected.first != "none";
      reached = expected.second;
    }
  }
  EXPECT_GT(failures, 20);
}

TEST_P(WriterFaults, ACrashAtAnyCallLeavesALoadableStore) {
  bool reached = true;
  for (int at = 0; reached; ++at) {
    SCOPED_TRACE("call " + std::to_string(at));
    ASSERT_LT(at, 200) << "no end of calls";
    const test::TemporaryDirectory run;
    GetParam().prepare(run / "checkpoints");
    CheckpointStore store(run / "checkpoints", kKeepOne);
    const pid_t child = ::fork();
    if (child == 0) {
      const FaultScope faults(Fault::kCrash, at);
      save_in_background(store);
      ::_exit(0);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFEXITED(status));
    reached = WEXITSTATUS(status) == test::kCrashStatus;
    std::vector<CheckpointStore::Skipped> skipped;
    const auto loaded = store.load_latest(skipped);
    EXPECT_TRUE(!loaded || holds_files_of(*loaded, loaded->global_step));
    EXPECT_TRUE(loaded || !GetParam().older);
    EXPECT_TRUE(reached || (loaded && loaded->global_step == 3));
  }
}

INSTANTIATE_TEST_SUITE_P(, WriterFaults, testing::ValuesIn(kScenarios), [](const auto& scenario) {
  std::string name = scenario.param.name;
  std::replace(name.begin(), name.end(), ' ', '_');
  return name;
});

}  // namespace
}  // namespace lockstep
