#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <string>

#include "command_line.h"
#include "lockstep/base/log.h"
#include "lockstep/comm/launcher.h"
#include "lockstep/comm/world.h"
#include "lockstep/train/stop_signal.h"

namespace lockstep {

namespace {

// A failure the other ranks do not know of: they must not be waited for.
[[noreturn]] void end_alone(ExitCode code, const std::string& message) {
  log_error("{}", message);
  World::end_job(code, message);
}

// A stream that is closed must not become the first file that is opened: messages would be written
// into a checkpoint, or a socket be waited for as standard input. What is opened here instead fails
// as the closed stream would: it can only be used in the other direction.
void occupy_closed_streams() {
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(stream, F_GETFD) != -1 || errno != EBADF) continue;
    // The lowest number that is free is this one.
    (void)::open("/dev/null", stream == STDIN_FILENO ? O_WRONLY : O_RDONLY);
  }
}

// LibTorch's constructors take a good part of a second before main: a stop signal of that time
// waits until the command says what it means.
[[gnu::section(".preinit_array"), gnu::used]] void (*const kBeforeConstructors)() = [] {
  block_stop_signals();
  occupy_closed_streams();
};

}  // namespace

bool speaks() { return mpi_job_rank() <= 0; }

int run_program(const std::function<ExitCode()>& work) {
  // A file size limit is then a failed write, with a message and an exit code, and not the end.
  std::signal(SIGXFSZ, SIG_IGN);
  // So is a reader of the messages that has gone: with mpirun, most likely, which the watchdog
  // tells.
  std::signal(SIGPIPE, SIG_IGN);
  try {
    return static_cast<int>(work());
  } catch (const AgreedError& error) {
    return static_cast<int>(error.code());  // the root has said why
  } catch (...) {
    const Error error = caught_error();
    end_alone(error.code(), error.what());
  }
}

}  // namespace lockstep
