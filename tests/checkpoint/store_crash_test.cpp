// The store after a crash of the whole machine: a save is recorded, and everything that a disk may
// hold after each of its calls is loaded.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "checkpoint_samples.h"
#include "crash_states.h"
#include "fault_points.h"
#include "lockstep/checkpoint/store.h"
#include "store_scenarios.h"
#include "temporary_directory.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;
using test::DiskModel;
using test::FaultScope;
using test::files_of;
using test::holds_files_of;
using test::kKeepOne;
using test::Scenario;

class StoreCrash : public testing::TestWithParam<Scenario> {
 protected:
  // `least`: the step that must be there by now.
  void expect_sound(const DiskModel::Tree& tree, std::int64_t least) {
    const test::TemporaryDirectory run;
    test::materialise(tree, run.path());
    CheckpointStore store(run / "checkpoints", kKeepOne);
    std::vector<CheckpointStore::Skipped> skipped;
    const auto loaded = store.load_latest(skipped);
    ASSERT_TRUE(loaded.has_value() || least == 0);
    if (loaded) {
      EXPECT_TRUE(holds_files_of(*loaded, loaded->global_step));
      EXPECT_GE(loaded->global_step, least);
    }
    // Nothing half done, or half removed, has a final name, but for what the scenario put there.
    for (const auto& [step, directory] : store.list()) {
      if (!fs::is_empty(directory)) {
        EXPECT_TRUE(holds_files_of(load_checkpoint(directory), step));
      }
    }
    // The hints name nothing that is not durable.
    EXPECT_EQ(store.latest().has_value(), fs::exists(run / "checkpoints/LATEST"));
    EXPECT_EQ(store.best().has_value(), fs::exists(run / "checkpoints/BEST"));
    if (GetParam().older) {
      const auto best = store.best();
      ASSERT_TRUE(best.has_value());
      const auto loaded_best = load_checkpoint(*best);
      EXPECT_TRUE(holds_files_of(loaded_best, loaded_best.global_step));
      EXPECT_TRUE(loaded_best.global_step == 1 ||
                  (GetParam().best && loaded_best.global_step == 3));
    }
    store.save(3, files_of(3), GetParam().best_step());
    skipped.clear();
    EXPECT_TRUE(holds_files_of(*store.load_latest(skipped), 3));
    EXPECT_TRUE(skipped.empty());
  }
};

TEST_P(StoreCrash, AnyStateOfTheDiskHoldsTheOlderOrTheNewCheckpoint) {
  const test::TemporaryDirectory run;
  GetParam().prepare(run / "checkpoints");
  DiskModel disk(run.path());
  std::vector<std::string> calls, written;
  {
    const FaultScope recording;
    CheckpointStore(run / "checkpoints", kKeepOne).save(3, files_of(3), GetParam().best_step());
    calls = recording.calls();
    written = recording.written();
  }
  const std::string parent = "fsync " + (run / "checkpoints").string();
  std::int64_t least = GetParam().older ? 2 : 0;
  bool named = false;
  int states = 0;
  for (std::size_t done = 0;; ++done) {
    disk.for_each_state([&](const DiskModel::Tree& tree) {
      ++states;
      if (!HasFailure()) expect_sound(tree, least);
    });
    ASSERT_FALSE(HasFailure()) << "after " << done << " calls, before "
                               << (done < calls.size() ? calls[done] : "the end");
    if (done == calls.size()) break;
    disk.apply(calls[done], written[done]);
    // From the fsync after the rename on no crash loses step 3.
    named = named || calls[done].ends_with("step-00000003");
    if (named && calls[done] == parent) least = 3;
  }
  EXPECT_EQ(least, 3);
  EXPECT_GT(states, 100);
  RecordProperty("states", states);
}

INSTANTIATE_TEST_SUITE_P(, StoreCrash, testing::ValuesIn(test::kScenarios),
                         [](const auto& scenario) {
                           std::string name = scenario.param.name;
                           std::replace(name.begin(), name.end(), ' ', '_');
                           return name;
                         });

// A process that died may have made the store's directory and not synced its name.
TEST(StoreCrashBefore, TheDirectoryItselfIsDurable) {
  const test::TemporaryDirectory run;
  DiskModel disk(run.path());
  fs::create_directory(run / "checkpoints");
  disk.apply("mkdir " + (run / "checkpoints").string(), "");
  {
    const FaultScope recording;
    CheckpointStore(run / "checkpoints", kKeepOne).save(3, files_of(3), {});
    for (std::size_t i = 0; i < recording.calls().size(); ++i) {
      disk.apply(recording.calls()[i], recording.written()[i]);
    }
  }
  int states = 0;
  disk.for_each_state([&](const DiskModel::Tree& tree) {
    ++states;
    const test::TemporaryDirectory after;
    test::materialise(tree, after.path());
    std::vector<CheckpointStore::Skipped> skipped;
    const auto loaded = CheckpointStore(after / "checkpoints").load_latest(skipped);
    EXPECT_TRUE(loaded && holds_files_of(*loaded, 3));
  });
  EXPECT_GE(states, 1);
}

// Until all of the later checkpoints are set aside, durably, the newest that is left is one of the
// course that is given up, with all before it: nothing else may be cut back before.
TEST(StoreCrashWhileGoingBack, EveryStateIsABeginningOfTheCourse) {
  const StoreOptions kKeepAll{.keep = 9};
  const test::TemporaryDirectory run;
  const fs::path directory = run / "checkpoints";
  CheckpointStore store(directory, kKeepAll);
  for (std::int64_t step = 1; step <= 5; ++step) store.save(step, files_of(step), 1);
  DiskModel disk(run.path());
  std::vector<std::string> calls, written;
  {
    const FaultScope recording;
    store.rewind(2);
    calls = recording.calls();
    written = recording.written();
  }
  const auto steps_of = [](const CheckpointStore& read) {
    std::vector<std::int64_t> steps;
    for (const auto& [step, path] : read.list()) steps.push_back(step);
    return steps;
  };
  bool durable = false;
  for (std::size_t done = 0;; ++done) {
    bool newest_by_now = true;  // of a process that dies here: all changes are there
    disk.for_each_state([&](const DiskModel::Tree& tree) {
      const test::TemporaryDirectory after;
      test::materialise(tree, after.path());
      const CheckpointStore left(after / "checkpoints", kKeepAll);
      std::vector<CheckpointStore::Skipped> skipped;
      const auto loaded = left.load_latest(skipped);
      ASSERT_TRUE(loaded.has_value());
      EXPECT_TRUE(holds_files_of(*loaded, loaded->global_step));
      EXPECT_GE(loaded->global_step, 2);
      if (durable) {
        EXPECT_EQ(loaded->global_step, 2) << "after call " << done;
      }
      const auto steps = steps_of(left);
      newest_by_now = steps.size() == static_cast<std::size_t>(steps.back());
    });
    EXPECT_TRUE(newest_by_now) << "after call " << done;
    if (done == calls.size()) break;
    disk.apply(calls[done], written[done]);
    durable = durable || calls[done] == "fsync " + directory.string();
  }
  EXPECT_TRUE(durable);
  ASSERT_GE(calls.size(), 4U);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_TRUE(calls[i].starts_with("rename " + (directory / "step-0000000").string() +
                                     std::to_string(5 - i) + ' '))
        << calls[i];
  }
}

}  // namespace
}  // namespace lockstep
