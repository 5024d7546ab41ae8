#include "launcher.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <optional>
#include <span>
#include <string_view>
#include <system_error>
#include <utility>

#include "lockstep/base/clock.h"
#include "lockstep/base/error.h"
#include "lockstep/base/file.h"
#include "lockstep/comm/launcher.h"

namespace lockstep {

namespace {

constexpr std::size_t kKeptOutput = 64 * 1024;
constexpr double kSecondsToEnd = 10;  // mpirun itself gives its ranks about one

bool belongs_to_a_job(std::string_view variable) {
  // Settings of Open MPI are the user's own, unless an outer mpirun has set some for its ranks.
  if (variable.starts_with("OMPI_MCA_") && mpi_job_rank() < 0) return false;
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

std::pair<FileDescriptor, FileDescriptor> make_pipe() {
  int ends[2];
  LOCKSTEP_CHECK(::pipe2(ends, O_CLOEXEC) == 0, "pipe: {}", errno_text(errno));
  return {FileDescriptor(ends[0]), FileDescriptor(ends[1])};
}

// The signals that concern a job, read from a descriptor while this lives.
class Signals {
 public:
  Signals() {
    sigset_t set;
    sigemptyset(&set);
    for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGCHLD})
      sigaddset(&set, signal);
    ::pthread_sigmask(SIG_BLOCK, &set, &before_);
    descriptor_ = FileDescriptor(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
    LOCKSTEP_CHECK(descriptor_.valid(), "signalfd: {}", errno_text(errno));
  }
  ~Signals() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;

  int descriptor() const { return descriptor_.get(); }
  const sigset_t& mask_before() const { return before_; }
  /// The next one that asks to end; 0: none so far.
  int next_stop() {
    signalfd_siginfo info{};
    while (::read(descriptor(), &info, sizeof(info)) == ssize_t{sizeof(info)}) {
      if (info.ssi_signo != SIGCHLD) return static_cast<int>(info.ssi_signo);
    }
    return 0;
  }

 private:
  sigset_t before_{};
  FileDescriptor descriptor_;
};

// The state of a process, as 'S' or 'Z'; 0: there is none.
char state_of(const std::string& pid) {
  std::ifstream file("/proc/" + pid + "/stat");
  std::string text;
  std::getline(file, text);
  // The name before it may hold anything.
  const std::size_t end = text.rfind(") ");
  return end == std::string::npos || end + 2 >= text.size() ? '\0' : text[end + 2];
}

// Whether a process has a child that has not ended; true where the kernel does not tell.
bool has_living_children(pid_t pid) {
  std::error_code error;
  const std::filesystem::path tasks = "/proc/" + std::to_string(pid) + "/task";
  bool known = false;
  for (std::filesystem::directory_iterator task(tasks, error), end; !error && task != end;
       task.increment(error)) {
    std::ifstream children(task->path() / "children");
    known |= children.is_open();
    for (std::string child; children >> child;) {
      const char state = state_of(child);
      if (state != '\0' && state != 'Z' && state != 'X') return true;
    }
  }
  return !known;
}

// mpirun in a process group of its own, so that a Ctrl-C reaches it only through this process.
class Child {
 public:
  Child(std::vector<std::string> words, std::vector<std::string> variables, int output,
        bool with_errors, const sigset_t& mask) {
    const std::vector<char*> arguments = pointers(words);
    const std::vector<char*> environment = pointers(variables);
    auto [failure, report] = make_pipe();
    const pid_t parent = ::getpid();
    pid_ = ::fork();
    LOCKSTEP_CHECK(pid_ >= 0, "fork: {}", errno_text(errno));
    if (pid_ == 0) {
      // Only what a signal handler may call: other threads of the parent may have held any lock.
      ::setpgid(0, 0);
      ::prctl(PR_SET_PDEATHSIG, SIGTERM);
      if (::getppid() != parent) ::_exit(127);
      ::dup2(::open("/dev/null", O_RDONLY), STDIN_FILENO);
      ::dup2(output, STDOUT_FILENO);
      if (with_errors) ::dup2(output, STDERR_FILENO);
      ::pthread_sigmask(SIG_SETMASK, &mask, nullptr);
      ::execvpe("mpirun", arguments.data(), environment.data());
      const int reason = errno;
      [[maybe_unused]] const ssize_t written = ::write(report.get(), &reason, sizeof(reason));
      ::_exit(127);
    }
    report = FileDescriptor();
    int reason = 0;
    if (::read(failure.get(), &reason, sizeof(reason)) == ssize_t{sizeof(reason)}) {
      ::waitpid(pid_, nullptr, 0);
      fail(ExitCode::kUnavailable, "mpirun cannot be started: {}", errno_text(reason));
    }
  }
  ~Child() {
    if (ended_) return;
    end(SIGKILL);
    while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  void end(int signal) const { ::kill(signal == SIGKILL ? -pid_ : pid_, signal); }
  /// Whether it has ended; its exit code is known then.
  bool ended() {
    int status = 0;
    if (!ended_ && ::waitpid(pid_, &status, WNOHANG) == pid_) {
      ended_ = true;
      exit_code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
    return ended_;
  }
  int exit_code() const { return exit_code_; }
  bool has_living_child() const { return has_living_children(pid_); }

 private:
  pid_t pid_ = 0;
  bool ended_ = false;
  int exit_code_ = 0;
};

// Hands what is there to `take`; false at the end.
bool read_some(int fd, const std::function<void(std::string_view)>& take) {
  std::array<char, 4096> buffer{};
  const ssize_t got = ::read(fd, buffer.data(), buffer.size());
  if (got < 0) return errno == EINTR || errno == EAGAIN;
  take({buffer.data(), static_cast<std::size_t>(got)});
  return got > 0;
}

}  // namespace

std::filesystem::path own_program() {
  std::error_code error;
  auto program = std::filesystem::read_symlink("/proc/self/exe", error);
  LOCKSTEP_CHECK(!error, "the program's own file is not known: {}", error.message());
  return program;
}

ExitCode exit_code_of(const JobResult& result, int ranks) {
  const auto code = static_cast<ExitCode>(result.exit_code);
  if (describe(code) != "unknown") return code;
  fail(ExitCode::kUnavailable, "the job of {} ranks ended with code {}{}{}", ranks,
       result.exit_code, result.output.empty() ? "" : ":\n", result.output);
}

JobResult run_job(int ranks, const std::vector<std::string>& arguments, JobOutput output,
                  double seconds_without_process) {
  std::vector<std::string> words{"mpirun",          "-n",        std::to_string(ranks),
                                 "--oversubscribe", "--bind-to", "none"};
  // A job that ends with a code of its own has said why; mpirun would add a screen of its own.
  const bool captured = output == JobOutput::kCaptured;
  if (!captured) words.emplace_back("--quiet");
  words.push_back(own_program().string());
  words.insert(words.end(), arguments.begin(), arguments.end());
  // Else the pipe would take its place.
  if (!captured && ::fcntl(STDOUT_FILENO, F_GETFD) < 0) {
    fail(ExitCode::kInputOutput, "standard output: cannot be written: {}", errno_text(errno));
  }
  auto [reader, writer] = make_pipe();

  Signals signals;
  Child child(std::move(words), clean_environment(), writer.get(), captured, signals.mask_before());
  writer = FileDescriptor();
  JobResult result;
  std::optional<Error> not_written;
  const auto take = [&](std::string_view text) {
    if (captured) {
      result.output += text;
      if (result.output.size() <= 2 * kKeptOutput) return;
      result.output.erase(0, result.output.size() - kKeptOutput);
    } else if (!not_written) {
      try {
        write_all(STDOUT_FILENO, std::as_bytes(std::span(text)), "standard output");
      } catch (const Error& error) {
        not_written = error;
      }
    }
  };
  int stopped_by = 0;
  Stopwatch since_stop;
  Stopwatch since_life;
  std::error_code no_directory;
  bool open = true;
  while (!child.ended() || open) {
    std::array<pollfd, 2> waits{{{signals.descriptor(), POLLIN, 0}, {reader.get(), POLLIN, 0}}};
    ::poll(waits.data(), open ? 2 : 1, stopped_by != 0 ? 100 : 500);
    if (open && waits[1].revents != 0) open = read_some(reader.get(), take);
    const int signal = signals.next_stop();
    if (child.ended() || child.has_living_child()) since_life.lap();
    if (stopped_by == 0 && since_life.seconds() > seconds_without_process) {
      fail(ExitCode::kUnavailable,
           "mpirun has had no process of its job for {:.0f} s and does not end: it was killed; is "
           "there space in {}?",
           seconds_without_process, std::filesystem::temp_directory_path(no_directory).string());
    }
    const bool late = stopped_by != 0 && since_stop.seconds() > kSecondsToEnd;
    if ((signal != 0 && stopped_by != 0) || late) {
      child.end(SIGKILL);
      open = false;  // ranks that mpirun leaves behind may hold it
    } else if (signal != 0) {
      child.end(SIGTERM);
      stopped_by = signal;
      since_stop.lap();
    }
  }
  if (stopped_by != 0) {
    fail(ExitCode::kUnavailable, "stopped by signal {}: the job was ended", stopped_by);
  }
  if (not_written) throw *not_written;
  result.exit_code = child.exit_code();
  return result;
}

}  // namespace lockstep
