// gnuplot as a child process: no shell, no files, no settings of the user's, and an end.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <optional>
#include <utility>

#include "lockstep/base/clock.h"
#include "lockstep/base/error.h"
#include "lockstep/base/file.h"
#include "report/gnuplot.h"

extern char** environ;

namespace lockstep::report {

namespace {

constexpr int kLongestWait = 100;              // milliseconds between two signs of progress
constexpr std::size_t kMostOutput = 16 << 20;  // bytes; a drawing takes some 20 KB

struct Pipe {
  FileDescriptor read, write;
};

Pipe make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) {
    fail(ExitCode::kUnavailable, "gnuplot: no pipe: {}", errno_text(errno));
  }
  return {FileDescriptor(ends[0]), FileDescriptor(ends[1])};
}

void do_not_block(const FileDescriptor& file) {
  ::fcntl(file.get(), F_SETFL, ::fcntl(file.get(), F_GETFL) | O_NONBLOCK);
}

// A child that is killed and waited for if it was not before.
class Child {
 public:
  Child(const std::string& program, const Pipe& input, const Pipe& output, const Pipe& errors) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawnattr_init(&attributes);
    ::posix_spawn_file_actions_adddup2(&actions, input.read.get(), STDIN_FILENO);
    ::posix_spawn_file_actions_adddup2(&actions, output.write.get(), STDOUT_FILENO);
    ::posix_spawn_file_actions_adddup2(&actions, errors.write.get(), STDERR_FILENO);
    // What MPI has open is not gnuplot's.
    ::posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
    // Of a process group of its own: Ctrl-C is this program's to deal with. No signal is blocked.
    sigset_t none, all;
    ::sigemptyset(&none);
    ::sigfillset(&all);
    ::posix_spawnattr_setsigmask(&attributes, &none);
    ::posix_spawnattr_setsigdefault(&attributes, &all);
    ::posix_spawnattr_setpgroup(&attributes, 0);
    ::posix_spawnattr_setflags(
        &attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
    std::string name = program, defaults = "-d", standard_input = "-";
    const std::array<char*, 4> arguments{name.data(), defaults.data(), standard_input.data(),
                                         nullptr};
    const int problem =
        ::posix_spawnp(&process_, name.c_str(), &actions, &attributes, arguments.data(), environ);
    ::posix_spawn_file_actions_destroy(&actions);
    ::posix_spawnattr_destroy(&attributes);
    if (problem == ENOENT) {
      fail(ExitCode::kInputMissing, "{} is not installed (Debian: gnuplot-nox)", program);
    }
    if (problem != 0) {
      fail(ExitCode::kUnavailable, "{}: cannot be started: {}", program, errno_text(problem));
    }
  }
  ~Child() {
    if (process_ <= 0) return;
    ::kill(-process_, SIGKILL);
    int status = 0;
    while (::waitpid(process_, &status, 0) < 0 && errno == EINTR) continue;
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  /// Its status, once it has ended.
  std::optional<int> poll() {
    int status = 0;
    const pid_t ended = ::waitpid(process_, &status, WNOHANG);
    if (ended == 0 || (ended < 0 && errno == EINTR)) return std::nullopt;
    process_ = 0;
    return status;
  }

 private:
  pid_t process_ = 0;
};

// A gnuplot that ends early must not end this process.
class NoPipeSignal {
 public:
  NoPipeSignal() {
    ::sigemptyset(&pipe_signal_);
    ::sigaddset(&pipe_signal_, SIGPIPE);
    ::pthread_sigmask(SIG_BLOCK, &pipe_signal_, &before_);
  }
  ~NoPipeSignal() {
    const timespec at_once{};
    while (::sigtimedwait(&pipe_signal_, nullptr, &at_once) > 0) continue;
    ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  NoPipeSignal(const NoPipeSignal&) = delete;
  NoPipeSignal& operator=(const NoPipeSignal&) = delete;

 private:
  sigset_t pipe_signal_{}, before_{};
};

// Whether there is more to come.
bool read_some(const FileDescriptor& file, std::string& text) {
  std::array<char, 65536> buffer;
  const ssize_t size = ::read(file.get(), buffer.data(), buffer.size());
  if (size > 0) text.append(buffer.data(), static_cast<std::size_t>(size));
  return size > 0 || (size < 0 && (errno == EINTR || errno == EAGAIN));
}

}  // namespace

std::string run_gnuplot(const std::string& program, std::string_view script, double seconds,
                        const std::function<void()>& progress) {
  Pipe input = make_pipe(), output = make_pipe(), errors = make_pipe();
  Child child(program, input, output, errors);
  for (FileDescriptor* end : {&input.read, &output.write, &errors.write}) *end = FileDescriptor();
  do_not_block(input.write);
  const NoPipeSignal protection;

  std::string drawing, complaint;
  bool more_output = true, more_errors = true;
  const Deadline deadline(seconds);
  const auto require_time = [&] {
    if (progress) progress();
    if (!deadline.passed() && drawing.size() <= kMostOutput) return;
    fail(ExitCode::kUnavailable, "{}: was not done after {} s, and was ended", program, seconds);
  };
  while (more_output || more_errors) {
    std::array<pollfd, 3> files{{{more_output ? output.read.get() : -1, POLLIN, 0},
                                 {more_errors ? errors.read.get() : -1, POLLIN, 0},
                                 {input.write.get(), POLLOUT, 0}}};
    ::poll(files.data(), files.size(), kLongestWait);
    require_time();
    if (files[0].revents != 0) more_output = read_some(output.read, drawing);
    if (files[1].revents != 0) more_errors = read_some(errors.read, complaint);
    if (files[2].revents == 0) continue;
    const ssize_t written = ::write(input.write.get(), script.data(), script.size());
    if (written > 0) script.remove_prefix(static_cast<std::size_t>(written));
    const bool refused = written < 0 && errno != EINTR && errno != EAGAIN;
    if (script.empty() || refused) input.write = FileDescriptor();
  }
  // It has closed its output: that it ends too is a matter of moments.
  std::optional<int> status;
  while (!(status = child.poll())) {
    require_time();
    ::poll(nullptr, 0, 1);
  }
  // With status 0 it has only warned, of a curve of one value for instance.
  if (!WIFEXITED(*status) || WEXITSTATUS(*status) != 0 || drawing.empty()) {
    fail(ExitCode::kUnavailable, "{}: failed: {}", program,
         complaint.empty() ? "it said nothing" : complaint.substr(0, 2000));
  }
  return drawing;
}

}  // namespace lockstep::report
