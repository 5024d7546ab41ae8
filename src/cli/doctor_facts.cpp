#include "cli/doctor_facts.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>

#include "lockstep/base/error.h"
#include "lockstep/base/file.h"
#include "lockstep/base/hash.h"

namespace lockstep {

namespace {

namespace fs = std::filesystem;

// Files below /proc and /sys have no size to be read by.
std::string read_virtual_file(const fs::path& path) {
  const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  std::string text;
  char buffer[4096];
  while (file.valid()) {
    const ssize_t got = ::read(file.get(), buffer, sizeof(buffer));
    if (got <= 0) break;
    text.append(buffer, static_cast<std::size_t>(got));
  }
  return text;
}

// The number at the beginning of `text`; none for "max" and what is no number.
std::optional<double> number(const std::string& text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end == text.data()) return std::nullopt;
  return value;
}

void apply_cpu_quota(CgroupLimits& limits, std::optional<double> quota,
                     std::optional<double> period) {
  if (!quota || !period || *quota <= 0 || *period <= 0) return;
  const double cores = *quota / *period;
  limits.cores = limits.cores > 0 ? std::min(limits.cores, cores) : cores;
}

void apply_memory(CgroupLimits& limits, std::optional<double> limit, std::optional<double> used) {
  // Version 1 says "no limit" with a number near 2^63.
  if (!limit || !used || *limit >= 0x1p62) return;
  limits.memory_free =
      std::min(limits.memory_free, static_cast<std::uint64_t>(std::max(*limit - *used, 0.0)));
}

void apply_version_2(CgroupLimits& limits, const fs::path& directory) {
  const std::string cpu = read_virtual_file(directory / "cpu.max");
  const std::size_t blank = cpu.find(' ');
  if (blank != std::string::npos) {
    apply_cpu_quota(limits, number(cpu), number(cpu.substr(blank + 1)));
  }
  apply_memory(limits, number(read_virtual_file(directory / "memory.max")),
               number(read_virtual_file(directory / "memory.current")));
}

void apply_version_1(CgroupLimits& limits, const fs::path& directory) {
  apply_cpu_quota(limits, number(read_virtual_file(directory / "cpu.cfs_quota_us")),
                  number(read_virtual_file(directory / "cpu.cfs_period_us")));
  apply_memory(limits, number(read_virtual_file(directory / "memory.limit_in_bytes")),
               number(read_virtual_file(directory / "memory.usage_in_bytes")));
}

std::vector<int> allowed_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<int> cores;
  if (::sched_getaffinity(0, sizeof(set), &set) != 0) return cores;
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (CPU_ISSET(core, &set)) cores.push_back(core);
  }
  return cores;
}

std::uint64_t available_memory() {
  const std::string text = read_virtual_file("/proc/meminfo");
  constexpr std::string_view kName = "MemAvailable:";
  const std::size_t at = text.find(kName);
  if (at == std::string::npos) return 0;
  return std::strtoull(text.c_str() + at + kName.size(), nullptr, 10) * 1024;
}

std::uint64_t free_space(const char* path) {
  struct statvfs status {};
  return ::statvfs(path, &status) == 0 ? status.f_bavail * status.f_frsize : 0;
}

std::uint64_t limit_of(__rlimit_resource resource) {
  rlimit limit{};
  return ::getrlimit(resource, &limit) == 0 ? limit.rlim_cur : 0;
}

}  // namespace

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(DiskProbe, path, tested, free_bytes, fsync_seconds, code,
                                   problem)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(RankFacts, rank, host, versions, program, program_sha256,
                                   settings, data, data_sha256, test_sha256, data_code,
                                   data_problem, device, cores, threads, cgroup, cgroup_cores,
                                   memory_free, shared_memory_free, locked_memory_limit,
                                   open_files_limit, core_file_limit, ledger)

std::string to_text(const RankFacts& facts) {
  // Paths and messages may hold any bytes.
  return nlohmann::json(facts).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

RankFacts facts_from_text(const std::string& text) {
  try {
    return nlohmann::json::parse(text).get<RankFacts>();
  } catch (const nlohmann::json::exception& error) {
    fail(ExitCode::kInternal, "facts of a rank cannot be read: {}", error.what());
  }
}

CgroupLimits cgroup_limits(const fs::path& root) {
  CgroupLimits limits;
  std::istringstream lines(read_virtual_file(root / "proc/self/cgroup"));
  // A line is "number:controllers:/path"; version 2 has no controllers.
  for (std::string line; std::getline(lines, line);) {
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const bool version_2 = controllers.empty();
    const auto controls = [&](std::string_view name) {
      return ("," + controllers + ",").find(fmt::format(",{},", name)) != std::string::npos;
    };
    if (!version_2 && !controls("cpu") && !controls("memory")) continue;
    fs::path group = line.substr(second + 1);
    if (controls("cpu") || (version_2 && limits.group.empty())) limits.group = group.string();
    const fs::path mount = root / "sys/fs/cgroup" / controllers;
    // In a container the group may not be visible by its name: its limits are then at the mount.
    for (;; group = group.parent_path()) {
      const fs::path directory = mount / group.relative_path();
      version_2 ? apply_version_2(limits, directory) : apply_version_1(limits, directory);
      if (!group.has_relative_path()) break;
    }
  }
  return limits;
}

void find_system_facts(RankFacts& facts) {
  utsname kernel{};
  ::uname(&kernel);
  facts.versions["kernel"] = fmt::format("{} {}", kernel.sysname, kernel.release);
  std::error_code error;
  facts.program = fs::read_symlink("/proc/self/exe", error).string();
  facts.program_sha256 = sha256_file("/proc/self/exe");
  facts.cores = allowed_cores();
  const CgroupLimits limits = cgroup_limits();
  facts.cgroup = limits.group;
  facts.cgroup_cores = limits.cores;
  facts.memory_free = std::min(available_memory(), limits.memory_free);
  facts.shared_memory_free = free_space("/dev/shm");
  facts.locked_memory_limit = limit_of(RLIMIT_MEMLOCK);
  facts.open_files_limit = limit_of(RLIMIT_NOFILE);
  facts.core_file_limit = limit_of(RLIMIT_CORE);
}

std::string describe_cores(const std::vector<int>& cores) {
  std::string text;
  for (std::size_t i = 0; i < cores.size();) {
    std::size_t last = i;
    while (last + 1 < cores.size() && cores[last + 1] == cores[last] + 1) ++last;
    if (i > 0) text += ",";
    text += std::to_string(cores[i]);
    if (last > i) text += fmt::format("-{}", cores[last]);
    i = last + 1;
  }
  return text;
}

}  // namespace lockstep
