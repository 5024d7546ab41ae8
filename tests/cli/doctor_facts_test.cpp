// What lockstep doctor asks the operating system.
#include <gmock/gmock.h>
#include <sched.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "cli/doctor_facts.h"
#include "lockstep/base/error.h"

namespace lockstep {
namespace {

using testing::HasSubstr;

class DoctorFactsTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "doctor-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  void write(const std::string& path, const std::string& text) {
    std::filesystem::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }

  std::filesystem::path root_;
};

TEST_F(DoctorFactsTest, ControlGroupsOfVersion2LimitAtEveryLevel) {
  write("proc/self/cgroup", "0::/job/step\n");
  write("sys/fs/cgroup/job/step/cpu.max", "120000 100000\n");
  write("sys/fs/cgroup/job/cpu.max", "150000 100000\n");
  write("sys/fs/cgroup/cpu.max", "max 100000\n");
  write("sys/fs/cgroup/job/step/memory.max", "1000\n");
  write("sys/fs/cgroup/job/step/memory.current", "400\n");
  write("sys/fs/cgroup/job/memory.max", "max\n");
  const CgroupLimits limits = cgroup_limits(root_);
  EXPECT_EQ(limits.group, "/job/step");
  EXPECT_DOUBLE_EQ(limits.cores, 1.2);
  EXPECT_EQ(limits.memory_free, 600u);
}

TEST_F(DoctorFactsTest, ControlGroupsOfVersion1) {
  write("proc/self/cgroup",
        "9:name=systemd:/\n4:memory:/a/b\n2:cpu,cpuacct:/a\n3:cpuset:/a\n0::/\n");
  write("sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us", "50000\n");
  write("sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us", "100000\n");
  write("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
  write("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
  write("sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "9223372036854771712\n");
  write("sys/fs/cgroup/memory/a/b/memory.usage_in_bytes", "5\n");
  write("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "100\n");
  write("sys/fs/cgroup/memory/a/memory.usage_in_bytes", "150\n");
  const CgroupLimits limits = cgroup_limits(root_);
  EXPECT_EQ(limits.group, "/a");
  EXPECT_DOUBLE_EQ(limits.cores, 0.5);
  EXPECT_EQ(limits.memory_free, 0u);
}

TEST_F(DoctorFactsTest, AContainerThatHidesItsGroupStillHasItsLimits) {
  write("proc/self/cgroup", "0::/docker/0123\n");
  write("sys/fs/cgroup/cpu.max", "200000 100000\n");
  EXPECT_DOUBLE_EQ(cgroup_limits(root_).cores, 2);
}

TEST_F(DoctorFactsTest, WhatCannotBeReadLimitsNothing) {
  EXPECT_EQ(cgroup_limits(root_).cores, 0);
  write("proc/self/cgroup", "rubbish\n::\n0::/x\n");
  write("sys/fs/cgroup/x/cpu.max", "rubbish");
  const CgroupLimits limits = cgroup_limits(root_);
  EXPECT_EQ(limits.cores, 0);
  EXPECT_EQ(limits.memory_free, ~std::uint64_t{0});
}

TEST_F(DoctorFactsTest, SystemFactsSurviveTheWayToTheRoot) {
  RankFacts facts;
  facts.rank = 3;
  facts.data_problem = "\xff is no UTF-8";
  find_system_facts(facts);
  cpu_set_t set;
  ASSERT_EQ(sched_getaffinity(0, sizeof(set), &set), 0);
  EXPECT_EQ(facts.cores.size(), static_cast<std::size_t>(CPU_COUNT(&set)));
  EXPECT_EQ(facts.program_sha256.size(), 64u);
  EXPECT_GT(facts.memory_free, 0u);
  EXPECT_GT(facts.open_files_limit, 0u);
  const RankFacts read = facts_from_text(to_text(facts));
  EXPECT_EQ(read.rank, 3);
  EXPECT_EQ(read.cores, facts.cores);
  EXPECT_EQ(read.program_sha256, facts.program_sha256);
  EXPECT_EQ(read.locked_memory_limit, facts.locked_memory_limit);
  EXPECT_EQ(read.versions, facts.versions);
  EXPECT_THAT(read.data_problem, HasSubstr("is no UTF-8"));
  EXPECT_THROW(facts_from_text("{}"), Error);
}

TEST_F(DoctorFactsTest, ProbingADirectoryLeavesNothing) {
  const DiskProbe here = probe_directory(root_);
  EXPECT_EQ(here.problem, "");
  EXPECT_GT(here.free_bytes, 0u);
  EXPECT_GT(here.fsync_seconds, 0);
  EXPECT_TRUE(std::filesystem::is_empty(root_));
  const DiskProbe later = probe_directory(root_ / "a" / "b");
  EXPECT_EQ(later.problem, "");
  EXPECT_EQ(later.tested, root_);
  EXPECT_FALSE(std::filesystem::exists(root_ / "a"));
}

TEST_F(DoctorFactsTest, ProbingNamesWhatIsInTheWay) {
  write("file", "x");
  for (const char* path : {"file", "file/a"}) {
    const DiskProbe probe = probe_directory(root_ / path);
    EXPECT_EQ(probe.code, 73);
    EXPECT_THAT(probe.problem, HasSubstr((root_ / "file").string() + ": is not a directory"));
  }
  // Everything there is a device or a file of the kernel's: nobody can create one.
  const DiskProbe kernel = probe_directory("/proc/self");
  EXPECT_EQ(kernel.code, 73);
  EXPECT_THAT(kernel.problem, HasSubstr("/proc/self"));
}

TEST(DescribeCores, WritesRangesShort) {
  EXPECT_EQ(describe_cores({}), "");
  EXPECT_EQ(describe_cores({5}), "5");
  EXPECT_EQ(describe_cores({0, 1, 2, 3, 8, 10, 11}), "0-3,8,10-11");
}

}  // namespace
}  // namespace lockstep
