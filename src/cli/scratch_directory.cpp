#include "scratch_directory.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <system_error>

#include "lockstep/base/error.h"

namespace lockstep {

namespace {

// Ranks of a job that is being ended may still write for a moment. A stop of the terminal or of the
// job's processes is none of its business.
constexpr const char* kGuard =
    "trap '' HUP INT TERM USR1 USR2; read -r _; "
    "for _ in 1 2 3 4 5 6 7 8 9 10; do "
    "rm -rf -- \"$1\" && [ ! -e \"$1\" ] && exit; sleep 1; done";

std::filesystem::path temporary_directory() {
  std::error_code error;
  auto directory = std::filesystem::temp_directory_path(error);
  if (error) {
    const char* const named = std::getenv("TMPDIR");
    fail(ExitCode::kCannotCreate, "no temporary directory: {}{} ({})",
         named != nullptr ? "TMPDIR=" : "/tmp", named != nullptr ? named : "", error.message());
  }
  return directory;
}

}  // namespace

ScratchDirectory::ScratchDirectory(const std::string& purpose,
                                   const std::filesystem::path& parent) {
  std::string pattern =
      ((parent.empty() ? temporary_directory() : parent) / ("lockstep-" + purpose + "-XXXXXX"))
          .string();
  if (::mkdtemp(pattern.data()) == nullptr) {
    fail(ExitCode::kCannotCreate, "{}: cannot be created: {}", pattern, errno_text(errno));
  }
  path_ = pattern;
  start_guard();
}

// Without one, as where no process can be started, only a sudden end leaves the directory behind.
void ScratchDirectory::start_guard() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return;
  const FileDescriptor reader(ends[0]);
  FileDescriptor writer(ends[1]);
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawnattr_init(&attributes);
  ::posix_spawn_file_actions_adddup2(&actions, reader.get(), STDIN_FILENO);
  for (const int output : {STDOUT_FILENO, STDERR_FILENO}) {
    ::posix_spawn_file_actions_addopen(&actions, output, "/dev/null", O_WRONLY, 0);
  }
  // What it held open, a launcher would take for a sign of life.
  ::posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
  // Out of the group that a launcher kills, and that a terminal's Ctrl-C reaches.
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID);
  std::array<std::string, 5> words{"sh", "-c", kGuard, "lockstep-scratch", path_.string()};
  std::array<char*, 6> arguments{};
  for (std::size_t i = 0; i < words.size(); ++i) arguments[i] = words[i].data();
  if (::posix_spawn(&guard_, "/bin/sh", &actions, &attributes, arguments.data(), environ) == 0) {
    life_ = std::move(writer);
  } else {
    guard_ = -1;
  }
  ::posix_spawnattr_destroy(&attributes);
  ::posix_spawn_file_actions_destroy(&actions);
}

ScratchDirectory::~ScratchDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
  life_ = FileDescriptor();
  while (guard_ > 0 && ::waitpid(guard_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

}  // namespace lockstep
