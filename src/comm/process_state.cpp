#include "comm/process_state.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstring>

namespace lockstep {

namespace {

ProcessState state_of(char letter) {
  switch (letter) {
    case 'Z':
    case 'X':
      return ProcessState::kGone;  // dead, if not yet taken notice of
    case 'D':
      return ProcessState::kUninterruptible;
    case 'T':
      return ProcessState::kStopped;
    case 't':
      return ProcessState::kTraced;
    default:
      return ProcessState::kAlive;
  }
}

}  // namespace

ProcessFacts look_at_process(int pid) noexcept {
  std::array<char, 32> path{};
  std::snprintf(path.data(), path.size(), "/proc/%d/stat", pid);
  const int file = ::open(path.data(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return {};
  std::array<char, 1024> text{};
  const ssize_t got = ::read(file, text.data(), text.size() - 1);
  ::close(file);
  if (got <= 0) return {};
  // "pid (name) state ppid ...": the name may hold anything, the last parenthesis ends it.
  const char* after_name = std::strrchr(text.data(), ')');
  if (after_name == nullptr) return {};
  char letter = '?';
  unsigned long long start = 0;
  int parent = 0;
  // Fields 3, 4 and 22 of proc(5).
  const int fields = std::sscanf(after_name + 1,
                                 " %c %d %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s "
                                 "%*s %*s %*s %llu",
                                 &letter, &parent, &start);
  if (fields != 3) return {};
  return {state_of(letter), start, parent};
}

std::uint32_t own_pid_namespace() noexcept {
  struct stat status {};
  if (::stat("/proc/self/ns/pid", &status) != 0) return 0;
  return static_cast<std::uint32_t>(status.st_ino);
}

}  // namespace lockstep
