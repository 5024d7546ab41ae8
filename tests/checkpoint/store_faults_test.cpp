// The store under crashes and failing system calls: at every call of a save in turn.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <functional>
#include <string>

#include "checkpoint_samples.h"
#include "expect_error.h"
#include "fault_points.h"
#include "lockstep/base/file.h"
#include "lockstep/checkpoint/store.h"
#include "store_scenarios.h"
#include "temporary_directory.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;
using test::expect_error;
using test::Fault;
using test::FaultScope;
using test::files_of;
using test::holds_files_of;
using test::kKeepOne;
using test::kScenarios;
using test::names_in;
using test::Scenario;
using testing::StartsWith;

class StoreFaults : public testing::TestWithParam<Scenario> {
 protected:
  // Calls check(directory, the calls made, whether `at` was reached) for at = 0, 1, ... until the
  // save runs through.
  template <typename Save, typename Check>
  void at_every_call(Save&& save, Check&& check) {
    bool reached = true;
    for (int at = 0; reached; ++at) {
      SCOPED_TRACE("call " + std::to_string(at));
      ASSERT_LT(at, 200) << "no end of calls";
      const test::TemporaryDirectory run;
      const fs::path directory = run / "checkpoints";
      GetParam().prepare(directory);
      reached = save(directory, at);
      check(directory);
      if (HasFatalFailure()) return;
    }
  }

  // Whether a save fails that made these calls, of which that of index `at` was the first to meet
  // the fault: not when all was done by then, but for the removal of old checkpoints.
  static bool must_fail(const std::vector<std::string>& calls, int at, Fault fault,
                        const fs::path& directory) {
    const std::string store = directory.string();
    for (std::size_t i = 0; i < calls.size(); ++i) {
      const std::string& call = calls[i];
      const bool retires = call.starts_with("rename " + store + "/step-") &&
                           call.find(' ' + store + "/.tmp-step-") != std::string::npos;
      if (retires) return false;
      const bool removes = call.starts_with("remove");
      if (fault == Fault::kError && i == static_cast<std::size_t>(at)) return !removes;
      if (fault == Fault::kDiskFull && i >= static_cast<std::size_t>(at) && !removes &&
          !call.starts_with("rename")) {
        return true;
      }
    }
    return false;
  }

  // Whatever happened: everything under a final name is good, what was promised is still there, and
  // the next save works and leaves no trace of the failure.
  void expect_sound(const fs::path& directory) {
    CheckpointStore store(directory, kKeepOne);
    std::vector<CheckpointStore::Skipped> skipped;
    const auto loaded = store.load_latest(skipped);
    if (loaded) {
      EXPECT_TRUE(holds_files_of(*loaded, loaded->global_step));
      EXPECT_GE(loaded->global_step, 2);
    }
    if (GetParam().older) {
      ASSERT_TRUE(loaded.has_value());
      ASSERT_TRUE(store.best().has_value());
      const auto best = load_checkpoint(*store.best());
      EXPECT_TRUE(holds_files_of(best, GetParam().best && best.global_step == 3 ? 3 : 1));
    }
    for (const auto& skip : skipped) {
      EXPECT_TRUE(fs::is_empty(skip.directory)) << skip.reason;  // only the one put there
    }
    store.save(3, files_of(3), GetParam().best_step());
    skipped.clear();
    ASSERT_TRUE(holds_files_of(*store.load_latest(skipped), 3));
    EXPECT_TRUE(skipped.empty());
    for (const std::string& name : names_in(directory)) {
      EXPECT_THAT(name, testing::Not(testing::HasSubstr("tmp")));
    }
  }
};

TEST_P(StoreFaults, ACrashAtAnyCallLeavesALoadableStore) {
  at_every_call(
      [](const fs::path& directory, int at) {
        const pid_t child = ::fork();
        if (child == 0) {
          const FaultScope faults(Fault::kCrash, at);
          CheckpointStore(directory, kKeepOne).save(3, files_of(3), GetParam().best_step());
          ::_exit(0);
        }
        int status = 0;
        EXPECT_EQ(::waitpid(child, &status, 0), child);
        EXPECT_TRUE(WIFEXITED(status));
        return WEXITSTATUS(status) == test::kCrashStatus;
      },
      [this](const fs::path& directory) { expect_sound(directory); });
}

TEST_P(StoreFaults, AFailureOfAnyCallIsReportedAndCleanedUp) {
  const std::string temporary = ".tmp-step-00000003-" + std::to_string(::getpid());
  for (const Fault fault : {Fault::kError, Fault::kDiskFull}) {
    at_every_call(
        [&](const fs::path& directory, int at) {
          bool failed = false;
          const FaultScope faults(fault, at, EIO);
          try {
            CheckpointStore(directory, kKeepOne).save(3, files_of(3), GetParam().best_step());
          } catch (const Error& error) {
            failed = true;
            EXPECT_TRUE(error.code() == ExitCode::kInputOutput ||
                        error.code() == ExitCode::kCannotCreate)
                << error.what();
            EXPECT_THAT(error.what(), StartsWith(directory.parent_path().string()));
          }
          // What cannot be removed is left until the next save, and stops no run.
          const bool removal = faults.reached() &&
                               faults.calls()[static_cast<std::size_t>(at)].starts_with("remove");
          EXPECT_EQ(failed, must_fail(faults.calls(), at, fault, directory));
          if (!removal) {
            EXPECT_FALSE(fs::exists(directory / temporary));
            EXPECT_FALSE(fs::exists(directory / "LATEST.tmp"));
            EXPECT_FALSE(fs::exists(directory / "BEST.tmp"));
          }
          return faults.reached();
        },
        [this](const fs::path& directory) { expect_sound(directory); });
  }
}

INSTANTIATE_TEST_SUITE_P(, StoreFaults, testing::ValuesIn(kScenarios), [](const auto& scenario) {
  std::string name = scenario.param.name;
  std::replace(name.begin(), name.end(), ' ', '_');
  return name;
});

std::string without(std::string text, const std::string& part, const std::string& instead) {
  for (std::size_t at; (at = text.find(part)) != std::string::npos;) {
    text = text.substr(0, at) + instead + text.substr(at + part.size());
  }
  return text;
}

// What a crash of the whole machine needs: nothing is named before it is durable.
TEST(StoreOrder, EverythingIsDurableBeforeItIsNamed) {
  const test::TemporaryDirectory run;
  const fs::path directory = run / "checkpoints";
  CheckpointStore store(directory, kKeepOne);
  store.save(1, files_of(1), {});
  const FaultScope faults;
  store.save(2, files_of(2), 2);

  const std::string temporary = ".tmp-step-00000002-" + std::to_string(::getpid());
  std::vector<std::string> calls;
  for (const std::string& call : faults.calls()) {
    calls.push_back(without(without(call, directory.string() + '/', ""), temporary, "T"));
  }
  const std::string parent = "fsync " + directory.string();
  const std::string old_one = ".tmp-step-00000001-" + std::to_string(::getpid());
  const std::vector<std::string> expected{
      "mkdir " + directory.string(),
      "fsync " + run.path().string(),
      "mkdir T",
      "create T/state.json",
      "write T/state.json",
      "fsync T/state.json",
      "create T/model.safetensors",
      "write T/model.safetensors",
      "fsync T/model.safetensors",
      "create T/MANIFEST.json",
      "write T/MANIFEST.json",
      "fsync T/MANIFEST.json",
      "fsync T",
      "rename T step-00000002",
      parent,
      "create LATEST.tmp",
      "write LATEST.tmp",
      "fsync LATEST.tmp",
      "rename LATEST.tmp LATEST",
      parent,
      "create BEST.tmp",
      "write BEST.tmp",
      "fsync BEST.tmp",
      "rename BEST.tmp BEST",
      parent,
      "rename step-00000001 " + old_one,
      parent,
  };
  ASSERT_GE(calls.size(), expected.size());
  for (std::size_t i = 0; i < calls.size(); ++i) {
    if (i < expected.size()) {
      EXPECT_EQ(calls[i], expected[i]) << "call " << i;
    } else {
      EXPECT_THAT(calls[i], StartsWith("remove " + old_one));
    }
  }
}

TEST(StoreLimits, AFileSizeLimitIsAnErrorThatLeavesNothing) {
  const test::TemporaryDirectory run;
  const fs::path directory = run / "checkpoints";
  CheckpointStore store(directory);
  store.save(1, files_of(1), {});

  // Without this the kernel ends the process before write returns EFBIG.
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit old_limit{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &old_limit), 0);
  const rlimit limit{10'000, old_limit.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
  auto files = files_of(2);
  files.push_back({"large", std::vector<std::byte>(20'000)});
  expect_error(ExitCode::kInputOutput, "large: cannot be written: File too large",
               [&] { store.save(2, files, {}); });
  EXPECT_EQ(::setrlimit(RLIMIT_FSIZE, &old_limit), 0);
  std::signal(SIGXFSZ, old_handler);

  EXPECT_THAT(names_in(directory), testing::ElementsAre("LATEST", "step-00000001"));
  EXPECT_EQ(store.save(2, files, {}), directory / "step-00000002");
}

}  // namespace
}  // namespace lockstep
