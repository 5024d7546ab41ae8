#include "lockstep/records/run_directory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "../checkpoint/expect_error.h"
#include "../checkpoint/fault_points.h"
#include "../checkpoint/temporary_directory.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;
using Mode = RunDirectory::Mode;
using test::expect_error;
using test::Fault;
using test::FaultScope;
using test::overwrite;
using testing::ElementsAre;
using testing::IsEmpty;

// Everything below a directory, sorted.
std::vector<std::string> tree(const fs::path& directory) {
  std::vector<std::string> names;
  for (const auto& entry : fs::recursive_directory_iterator(directory)) {
    names.push_back(fs::relative(entry.path(), directory).string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

class RunDirectoryTest : public testing::Test {
 protected:
  test::TemporaryDirectory parent_;
  const fs::path path_ = parent_ / "run";
};

TEST_F(RunDirectoryTest, IsMadeWithItsParents) {
  const fs::path deep = parent_ / "a/b/c";
  const auto run = RunDirectory::open(deep, Mode::kNew);
  EXPECT_EQ(run.path(), deep);
  EXPECT_EQ(run.checkpoints(), deep / "checkpoints");
  EXPECT_EQ(run.metrics(), deep / "metrics.jsonl");
  EXPECT_EQ(run.decisions(), deep / "decisions.jsonl");
  EXPECT_FALSE(run.existed());
  EXPECT_THAT(tree(parent_.path()), ElementsAre("a", "a/b", "a/b/c", "a/b/c/.lock"));
}

TEST_F(RunDirectoryTest, ATrailingSlashIsNoOtherDirectory) {
  const auto run = RunDirectory::open(path_.string() + "/", Mode::kNew);
  expect_error(ExitCode::kCannotCreate, "in use", [&] { RunDirectory::open(path_, Mode::kNew); });
}

TEST_F(RunDirectoryTest, MayBeThereWithoutARun) {
  fs::create_directory(path_);
  EXPECT_FALSE(RunDirectory::open(path_, Mode::kNew).existed());
  overwrite(path_ / "slurm-17.out", "someone else's");
  EXPECT_FALSE(RunDirectory::open(path_, Mode::kNew).existed());
  EXPECT_FALSE(RunDirectory::open(path_, Mode::kResumeOrNew).existed());
  EXPECT_THAT(tree(path_), ElementsAre(".lock", "slurm-17.out"));
}

TEST_F(RunDirectoryTest, ARunIsNotOverwritten) {
  for (const char* name : {"config.ini", "metrics.jsonl", "checkpoints"}) {
    fs::create_directory(path_);
    overwrite(path_ / name, "x");
    expect_error(ExitCode::kCannotCreate, path_.string() + ": holds a run",
                 [&] { RunDirectory::open(path_, Mode::kNew); });
    EXPECT_THAT(tree(path_), ElementsAre(name));
    EXPECT_TRUE(RunDirectory::open(path_, Mode::kResume).existed());
    EXPECT_TRUE(RunDirectory::open(path_, Mode::kResumeOrNew).existed());
    fs::remove_all(path_);
  }
}

TEST_F(RunDirectoryTest, ResumeNeedsARun) {
  expect_error(ExitCode::kInputMissing, path_.string() + ": holds no run",
               [&] { RunDirectory::open(path_, Mode::kResume); });
  EXPECT_THAT(tree(parent_.path()), IsEmpty());
  fs::create_directory(path_);
  expect_error(ExitCode::kInputMissing, "holds no run",
               [&] { RunDirectory::open(path_, Mode::kResume); });
  EXPECT_THAT(tree(path_), IsEmpty());
}

TEST_F(RunDirectoryTest, OnlyOneMayHoldIt) {
  {
    const RunDirectory first = RunDirectory::open(path_, Mode::kNew);
    for (const Mode mode : {Mode::kNew, Mode::kResumeOrNew}) {
      expect_error(ExitCode::kCannotCreate,
                   path_.string() + ": is in use by process " + std::to_string(::getpid()) + " on ",
                   [&] { RunDirectory::open(path_, mode); });
    }
    first.write_config("");
    RunDirectory moved = RunDirectory::open(parent_ / "other", Mode::kNew);
    const RunDirectory holder = std::move(moved);
    expect_error(ExitCode::kCannotCreate, "in use",
                 [&] { RunDirectory::open(parent_ / "other", Mode::kNew); });
    expect_error(ExitCode::kCannotCreate, "in use",
                 [&] { RunDirectory::open(path_, Mode::kResume); });
  }
  EXPECT_TRUE(RunDirectory::open(path_, Mode::kResume).existed());
}

TEST_F(RunDirectoryTest, ALockWithoutANameStillHolds) {
  const RunDirectory run = RunDirectory::open(path_, Mode::kNew);
  overwrite(path_ / ".lock", "");
  expect_error(ExitCode::kCannotCreate, "in use by another process",
               [&] { RunDirectory::open(path_, Mode::kNew); });
  overwrite(path_ / ".lock", "\x1B[2J" + std::string(1000, 'x'));
  expect_error(ExitCode::kCannotCreate, "in use by ?[2Jxxx",
               [&] { RunDirectory::open(path_, Mode::kNew); });
}

TEST_F(RunDirectoryTest, TheLockDiesWithItsProcess) {
  std::array<int, 2> ready{};
  ASSERT_EQ(::pipe(ready.data()), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const RunDirectory run = RunDirectory::open(path_, Mode::kNew);
    (void)!::write(ready[1], "x", 1);
    ::pause();
    ::_exit(0);
  }
  char byte = 0;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  expect_error(ExitCode::kCannotCreate, "in use by process " + std::to_string(child),
               [&] { RunDirectory::open(path_, Mode::kNew); });
  ::kill(child, SIGKILL);
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  EXPECT_NO_THROW(RunDirectory::open(path_, Mode::kNew));
  ::close(ready[0]);
  ::close(ready[1]);
}

TEST_F(RunDirectoryTest, OfManyAtOnceOneWins) {
  for (int round = 0; round < 10; ++round) {
    const fs::path path = parent_ / ("race" + std::to_string(round));
    std::array<int, 2> outcome{};
    std::array<int, 2> hold{};
    ASSERT_EQ(::pipe(outcome.data()), 0);
    ASSERT_EQ(::pipe(hold.data()), 0);
    constexpr int kRacers = 6;
    std::vector<pid_t> children;
    for (int i = 0; i < kRacers; ++i) {
      children.push_back(::fork());
      if (children.back() != 0) continue;
      ::close(hold[1]);
      char result = 'w';
      try {
        const RunDirectory run = RunDirectory::open(path, Mode::kNew);
        (void)!::write(outcome[1], &result, 1);
        (void)!::read(hold[0], &result, 1);  // until the parent has heard everyone
      } catch (const Error& error) {
        result = error.code() == ExitCode::kCannotCreate ? 'l' : '?';
        (void)!::write(outcome[1], &result, 1);
      }
      ::_exit(0);
    }
    std::string results(kRacers, ' ');
    for (char& result : results) ASSERT_EQ(::read(outcome[0], &result, 1), 1);
    ::close(hold[1]);
    for (const pid_t child : children) ASSERT_EQ(::waitpid(child, nullptr, 0), child);
    for (const int fd : {outcome[0], outcome[1], hold[0]}) ::close(fd);
    std::sort(results.begin(), results.end());
    EXPECT_EQ(results, "lllllw");
  }
}

TEST_F(RunDirectoryTest, SaysWhyItCannotBeMade) {
  overwrite(path_, "a file");
  expect_error(ExitCode::kCannotCreate, path_.string() + ": cannot be made",
               [&] { RunDirectory::open(path_, Mode::kNew); });
  expect_error(ExitCode::kCannotCreate, (path_ / "below").string() + ": cannot be made",
               [&] { RunDirectory::open(path_ / "below", Mode::kNew); });
  expect_error(ExitCode::kCannotCreate, "/proc/lockstep",
               [&] { RunDirectory::open("/proc/lockstep", Mode::kNew); });
  EXPECT_THAT(tree(parent_.path()), ElementsAre("run"));
  fs::create_directory(parent_ / "linked");
  fs::create_symlink("elsewhere", parent_ / "linked/.lock");
  expect_error(ExitCode::kCannotCreate, "linked/.lock",
               [&] { RunDirectory::open(parent_ / "linked", Mode::kNew); });
}

TEST_F(RunDirectoryTest, KnowsWhenItIsNoLongerItsOwn) {
  const RunDirectory run = RunDirectory::open(path_, Mode::kNew);
  EXPECT_NO_THROW(run.require_held());
  const auto lost = [&] {
    expect_error(ExitCode::kCannotCreate, path_.string() + ": was removed or replaced",
                 [&] { run.require_held(); });
  };
  fs::rename(path_, parent_ / "elsewhere");
  lost();
  const RunDirectory other = RunDirectory::open(path_, Mode::kNew);  // the lock did not hinder it
  lost();
  EXPECT_NO_THROW(other.require_held());
  fs::remove_all(path_);
  fs::rename(parent_ / "elsewhere", path_);
  EXPECT_NO_THROW(run.require_held());
}

// Reports look while a run may be about to start.
TEST_F(RunDirectoryTest, WhoOnlyLooksIsNotInTheWay) {
  { const RunDirectory run = RunDirectory::open(path_, Mode::kNew); }
  std::atomic<bool> done = false;
  std::thread reader([&] {
    while (!done) RunDirectory::user(path_);
  });
  for (int i = 0; i < 300; ++i) {
    overwrite(path_ / ".lock", "process 1 on elsewhere\n");  // nobody can know that it is gone
    EXPECT_NO_THROW(RunDirectory::open(path_, Mode::kNew));
  }
  done = true;
  reader.join();
}

// A crash of the machine may not lose a directory whose content was made durable.
TEST_F(RunDirectoryTest, ItsNamesAreDurable) {
  const FaultScope faults;
  const auto run = RunDirectory::open(parent_ / "a/b/", Mode::kNew);
  const auto calls = faults.calls();
  for (const auto& [made, parent] :
       {std::pair(parent_ / "a", parent_.path()), std::pair(parent_ / "a/b/", parent_ / "a")}) {
    const auto mkdir = std::find(calls.rbegin(), calls.rend(), "mkdir " + made.string());
    ASSERT_NE(mkdir, calls.rend()) << made;
    ASSERT_NE(mkdir, calls.rbegin());
    EXPECT_EQ(*std::prev(mkdir), "fsync " + parent.string());
  }
}

TEST_F(RunDirectoryTest, TheNameOfOneThatWasThereIsDurable) {
  fs::create_directory(path_);
  const FaultScope faults;
  const auto run = RunDirectory::open(path_, Mode::kNew);
  EXPECT_THAT(faults.calls(), testing::Contains("fsync " + parent_.path().string()));
}

TEST(RunDirectoryFaults, AFailureAtAnyCallLeavesNothing) {
  bool reached = true;
  int at = 0;
  for (; reached; ++at) {
    const test::TemporaryDirectory parent;
    const FaultScope faults(Fault::kError, at, EACCES);
    try {
      RunDirectory::open(parent / "a/b/c", Mode::kNew);
      reached = faults.reached();
      // The holder's name in the lock is all that it can do without.
      EXPECT_TRUE(!reached ||
                  faults.calls().at(static_cast<std::size_t>(at)).starts_with("truncate"));
    } catch (const Error& error) {
      const bool sync = faults.calls().at(static_cast<std::size_t>(at)).starts_with("fsync");
      EXPECT_EQ(error.code(), sync ? ExitCode::kInputOutput : ExitCode::kCannotCreate);
      EXPECT_THAT(error.what(), testing::HasSubstr(parent.path().string()));
      EXPECT_THAT(tree(parent.path()), IsEmpty()) << at;
    }
  }
  EXPECT_GE(at, 8);  // three directories, each synced, and the lock
}

TEST_F(RunDirectoryTest, WritesTheSettingsAsOneStep) {
  const RunDirectory run = RunDirectory::open(path_, Mode::kNew);
  run.write_config("epochs=1\n");
  for (int at = 0; at < 3; ++at) {
    const FaultScope faults(Fault::kDiskFull, at);
    expect_error(ExitCode::kInputOutput, (path_ / "config.ini").string(),
                 [&] { run.write_config("epochs=2\n"); });
    EXPECT_EQ(read_text_file(path_ / "config.ini"), "epochs=1\n");
    EXPECT_THAT(tree(path_), ElementsAre(".lock", "config.ini"));
  }
  run.write_config("epochs=3\n");
  EXPECT_EQ(read_text_file(path_ / "config.ini"), "epochs=3\n");
}

TEST_F(RunDirectoryTest, KeepsTheFactsOfEarlierStarts) {
  const RunDirectory run = RunDirectory::open(path_, Mode::kNew);
  for (const char* start : {"1", "2", "3"}) run.write_launch(start);
  EXPECT_THAT(tree(path_), ElementsAre(".lock", "launch-1.json", "launch-2.json", "launch.json"));
  EXPECT_EQ(read_text_file(path_ / "launch-1.json"), "1");
  EXPECT_EQ(read_text_file(path_ / "launch-2.json"), "2");
  EXPECT_EQ(read_text_file(path_ / "launch.json"), "3");

  fs::remove(path_ / "launch-1.json");
  for (const char* name : {"launch-.json", "launch-x.json", "launch-9x.json", "launch-9.jsonl"}) {
    overwrite(path_ / name, "mine");
  }
  run.write_launch("4");
  EXPECT_EQ(read_text_file(path_ / "launch-3.json"), "3");
  EXPECT_EQ(read_text_file(path_ / "launch-2.json"), "2");
  overwrite(path_ / "launch-10.json", "10");
  run.write_launch("5");
  EXPECT_EQ(read_text_file(path_ / "launch-11.json"), "4");
}

}  // namespace
}  // namespace lockstep
