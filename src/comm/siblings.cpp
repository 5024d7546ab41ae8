#include "comm/siblings.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string_view>
#include <system_error>

#include "comm/process_state.h"

namespace lockstep {

namespace {

namespace fs = std::filesystem;

// Together they name a job of Open MPI on this host.
constexpr const char* kJobVariables[] = {"PMIX_NAMESPACE", "PMIX_SERVER_URI2"};
constexpr std::string_view kRankVariable = "OMPI_COMM_WORLD_RANK=";

// The value of `assignment` ("NAME=") in a process's environment, whose entries end with NUL.
std::string_view value_in(std::string_view environment, std::string_view assignment) {
  while (!environment.empty()) {
    const std::string_view entry = environment.substr(0, environment.find('\0'));
    if (entry.starts_with(assignment)) return entry.substr(assignment.size());
    environment.remove_prefix(std::min(entry.size() + 1, environment.size()));
  }
  return {};
}

std::string job_in(std::string_view environment) {
  std::string job;
  for (const char* name : kJobVariables) {
    const std::string_view value = value_in(environment, std::string(name) + "=");
    if (value.empty()) return {};
    job.append(value).push_back('\n');
  }
  return job;
}

// Empty when the process has ended, or is another user's.
std::string environment_of(const fs::path& process) {
  std::ifstream file(process / "environ", std::ios::binary);  // its size is told nowhere
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

std::string halted_siblings() noexcept {
  try {
    const std::string job = job_in(environment_of("/proc/self"));
    if (job.empty()) return {};
    std::map<int, std::string> halted;  // by rank
    std::error_code error;
    fs::directory_iterator process("/proc", error);
    for (; !error && process != fs::directory_iterator(); process.increment(error)) {
      const int pid = std::atoi(process->path().filename().c_str());
      if (pid <= 0 || pid == ::getpid()) continue;
      const ProcessState state = look_at_process(pid).state;
      if (state != ProcessState::kStopped && state != ProcessState::kTraced) continue;
      const std::string environment = environment_of(process->path());
      const std::string rank(value_in(environment, kRankVariable));
      if (rank.empty() || job_in(environment) != job) continue;
      halted[std::atoi(rank.c_str())] =
          fmt::format("rank {} (process {}) is {}", rank, pid,
                      state == ProcessState::kStopped ? "stopped (SIGSTOP)" : "halted by a debugger");
    }
    std::string text;
    for (const auto& [rank, sentence] : halted) text += (text.empty() ? "" : "; ") + sentence;
    return text;
  } catch (const std::exception&) {
    return {};
  }
}

}  // namespace lockstep
