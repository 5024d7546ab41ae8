// A job of this very program under a script that stands for mpirun.
#include "cli/launcher.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "cli/scratch_directory.h"
#include "lockstep/base/error.h"
#include "lockstep/base/file.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::Not;

class Launcher : public ::testing::Test {
 protected:
  void TearDown() override {
    for (const char* name : {"OMPI_MCA_btl", "SLURM_NTASKS", "OMPI_COMM_WORLD_RANK"}) {
      ::unsetenv(name);
    }
    ::setenv("PATH", path_.c_str(), 1);
  }
  void use_mpirun(const std::string& script) {
    replace_file(scratch_.path() / "mpirun", "#!/bin/sh\n" + script + "\n");
    ASSERT_EQ(::chmod((scratch_.path() / "mpirun").c_str(), 0755), 0);
    ::setenv("PATH", (scratch_.path().string() + ":" + path_).c_str(), 1);
  }

  const std::string path_ = std::getenv("PATH");
  const ScratchDirectory scratch_{"launcher-test"};
};

TEST_F(Launcher, PassesOnTheExitCodeAndTheOutput) {
  use_mpirun("printf '%s ' \"$@\"; exit 75");
  const JobResult result = run_job(3, {"train", "--epochs=2"});
  EXPECT_EQ(result.exit_code, 75);
  EXPECT_THAT(result.output, HasSubstr("-n 3 "));
  EXPECT_THAT(result.output, HasSubstr(own_program().string() + " train --epochs=2 "));
}

TEST_F(Launcher, TheUsersSettingsOfOpenMpiStayAndAnOuterJobsGo) {
  use_mpirun("env");
  ::setenv("OMPI_MCA_btl", "self,tcp", 1);
  ::setenv("SLURM_NTASKS", "8", 1);
  std::string output = run_job(1, {}).output;
  EXPECT_THAT(output, HasSubstr("OMPI_MCA_btl=self,tcp\n"));
  EXPECT_THAT(output, Not(HasSubstr("SLURM_NTASKS")));
  ::setenv("OMPI_COMM_WORLD_RANK", "0", 1);
  output = run_job(1, {}).output;
  EXPECT_THAT(output, Not(HasSubstr("OMPI_MCA_btl")));
}

TEST_F(Launcher, AnMpirunWhoseRanksAreGoneIsNotWaitedFor) {
  use_mpirun("true & exec sleep 1000");  // true is never waited for
  try {
    run_job(1, {}, JobOutput::kCaptured, 0.1);
    FAIL() << "it came back";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUnavailable);
    EXPECT_THAT(error.what(), HasSubstr("no process of its job"));
  }
}

TEST_F(Launcher, EveryStopSignalEndsTheJob) {
  // The script itself asks the caller to stop, once it is there to be ended.
  for (const char* name : {"INT", "TERM", "HUP", "USR1", "USR2"}) {
    SCOPED_TRACE(name);
    use_mpirun(std::string("trap 'exit 1' TERM; kill -") + name +
               " $PPID; while :; do sleep 0.01; done");
    try {
      run_job(1, {});
      FAIL() << "it came back";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kUnavailable);
      EXPECT_THAT(error.what(), HasSubstr("stopped by signal"));
    }
  }
}

TEST(Scratch, GoesWithItsOwner) {
  fs::path path;
  {
    const ScratchDirectory scratch("test");
    path = scratch.path();
    fs::create_directories(path / "a" / "b");
  }
  EXPECT_FALSE(fs::exists(path));
}

TEST(Scratch, GoesAlsoWhenItsOwnerIsKilled) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const ScratchDirectory scratch("test");
    fs::create_directories(scratch.path() / "a" / "b");
    const std::string path = scratch.path().string();
    if (::write(ends[1], path.data(), path.size()) < 0) ::_exit(1);
    ::kill(::getpid(), SIGKILL);
  }
  std::string path(4096, '\0');
  const ssize_t size = ::read(ends[0], path.data(), path.size());
  ASSERT_GT(size, 0);
  path.resize(static_cast<std::size_t>(size));
  ::waitpid(child, nullptr, 0);
  // The guard's own time: up to the test's limit.
  while (fs::exists(path)) ::usleep(1000);
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST(Scratch, NeedsATemporaryDirectory) {
  const char* const before = std::getenv("TMPDIR");
  const std::string kept = before != nullptr ? before : "";
  ::setenv("TMPDIR", "/nonexistent", 1);
  try {
    const ScratchDirectory scratch("test");
    FAIL() << scratch.path();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kCannotCreate);
    EXPECT_THAT(error.what(), HasSubstr("/nonexistent"));
  }
  before != nullptr ? ::setenv("TMPDIR", kept.c_str(), 1) : ::unsetenv("TMPDIR");
}

}  // namespace
}  // namespace lockstep
