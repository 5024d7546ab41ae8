// What lockstep doctor knows of one rank, and how a rank finds it out.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace lockstep {

/// A directory that was written to, and how that went.
struct DiskProbe {
  std::string path;              ///< what was asked for
  std::string tested;            ///< where it was written: path, or what exists of it
  std::uint64_t free_bytes = 0;  ///< for this user
  double fsync_seconds = 0;      ///< median of a 4 KiB write with fsync
  int code = 0;                  ///< an ExitCode: 73 or 74, or 0
  std::string problem;           ///< names the path; empty when all is well
};

/// Writes, syncs and removes a file in `path`; of a path that does not exist yet, in the directory
/// that it would be made in. Never throws: what goes wrong is in the result.
DiskProbe probe_directory(const std::filesystem::path& path);

/// Limits of the control group of this process and of those above it, of version 2 or 1.
struct CgroupLimits {
  std::string group;  ///< of the CPU controller; who shares it shares `cores`
  double cores = 0;   ///< CPU quota divided by its period; 0: none
  std::uint64_t memory_free = ~std::uint64_t{0};  ///< bytes below the memory limit
};

/// `root` stands for the file system's root, in tests. What cannot be read limits nothing.
CgroupLimits cgroup_limits(const std::filesystem::path& root = "/");

/// One rank. What a check has not filled in is empty.
struct RankFacts {
  int rank = 0;
  std::string host;
  std::map<std::string, std::string> versions;  ///< by component
  std::string program;                          ///< path of the binary
  std::string program_sha256;
  std::string settings;  ///< as INI
  std::string data;      ///< what it is and where, for people
  std::string data_sha256;
  std::string test_sha256;  ///< empty without test data
  int data_code = 0;        ///< an ExitCode: why the data could not be read
  std::string data_problem;
  std::string device;      ///< "cpu AVX512" or the GPU
  std::vector<int> cores;  ///< that this process may run on
  int threads = 0;         ///< that compute
  std::string cgroup;
  double cgroup_cores = 0;  ///< 0: no quota
  std::uint64_t memory_free = 0;
  std::uint64_t shared_memory_free = 0;
  std::uint64_t locked_memory_limit = 0;  ///< bytes; the largest number: no limit
  std::uint64_t open_files_limit = 0;
  std::uint64_t core_file_limit = 0;
  DiskProbe ledger;
};

/// For the way to the root and back. from_text throws Error{kInternal} for anything else.
std::string to_text(const RankFacts& facts);
RankFacts facts_from_text(const std::string& text);

/// Fills in what the operating system knows: cores, control group, memory, limits, the program's
/// SHA-256 and the kernel's version.
void find_system_facts(RankFacts& facts);

/// Core numbers for people: "0-3,8".
std::string describe_cores(const std::vector<int>& cores);

}  // namespace lockstep
