#include "launcher.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string_view>
#include <system_error>

#include "lockstep/base/error.h"
#include "lockstep/base/file.h"

namespace lockstep {

namespace {

constexpr std::size_t kKeptOutput = 64 * 1024;

bool belongs_to_a_job(std::string_view variable) {
  for (const std::string_view prefix : {"OMPI_", "PMIX_", "PMI_", "PRTE_", "SLURM_"}) {
    if (variable.starts_with(prefix)) return true;
  }
  return false;
}

std::vector<std::string> clean_environment() {
  std::vector<std::string> variables;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    if (!belongs_to_a_job(*entry)) variables.emplace_back(*entry);
  }
  if (::geteuid() == 0) {
    variables.emplace_back("OMPI_ALLOW_RUN_AS_ROOT=1");
    variables.emplace_back("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1");
  }
  return variables;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> result;
  for (std::string& text : texts) result.push_back(text.data());
  result.push_back(nullptr);
  return result;
}

std::string read_tail(int fd) {
  std::string tail;
  std::array<char, 4096> buffer{};
  while (true) {
    const ssize_t got = ::read(fd, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return tail;
    tail.append(buffer.data(), static_cast<std::size_t>(got));
    if (tail.size() > 2 * kKeptOutput) tail.erase(0, tail.size() - kKeptOutput);
  }
}

}  // namespace

std::filesystem::path own_program() {
  std::error_code error;
  auto program = std::filesystem::read_symlink("/proc/self/exe", error);
  LOCKSTEP_CHECK(!error, "the program's own file is not known: {}", error.message());
  return program;
}

JobResult run_job(int ranks, const std::vector<std::string>& arguments) {
  std::vector<std::string> words{"mpirun",    "-n",   std::to_string(ranks), "--oversubscribe",
                                 "--bind-to", "none", own_program().string()};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<std::string> variables = clean_environment();

  int ends[2];
  LOCKSTEP_CHECK(::pipe2(ends, O_CLOEXEC) == 0, "pipe: {}", errno_text(errno));
  const FileDescriptor reader(ends[0]);
  FileDescriptor writer(ends[1]);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, writer.get(), STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, writer.get(), STDERR_FILENO);
  pid_t child = 0;
  const int failure = ::posix_spawnp(&child, "mpirun", &actions, nullptr, pointers(words).data(),
                                     pointers(variables).data());
  posix_spawn_file_actions_destroy(&actions);
  if (failure != 0) {
    fail(ExitCode::kUnavailable, "mpirun cannot be started: {}", errno_text(failure));
  }
  writer = FileDescriptor();
  JobResult result;
  result.output = read_tail(reader.get());
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return result;
}

}  // namespace lockstep
