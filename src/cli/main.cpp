// The program: finds the subcommand, runs it, and turns every failure into a message and an exit
// code.
#include <csignal>
#include <cstdio>
#include <string>
#include <vector>

#include "command_line.h"
#include "lockstep/base/log.h"
#include "lockstep/base/text.h"
#include "lockstep/comm/launcher.h"
#include "lockstep/comm/world.h"
#include "lockstep/train/stop_signal.h"
#include "manual.h"

namespace lockstep {

namespace {

// Before MPI runs, only the launcher's environment tells who this is.
bool speaks() { return mpi_job_rank() <= 0; }

void print(const std::string& text) {
  if (speaks()) std::fputs(text.c_str(), stdout);
}

ExitCode dispatch(const std::vector<std::string>& arguments) {
  const std::vector<Command> commands{train_command(),  evaluate_command(), predict_command(),
                                      report_command(), inspect_command(),  bench_command(),
                                      doctor_command(), prove_command()};
  if (arguments.empty() || arguments[0] == "--help" || arguments[0] == "-h" ||
      arguments[0] == "help") {
    print(program_help(commands));
    return arguments.empty() ? ExitCode::kUsage : ExitCode::kDone;
  }
  if (arguments[0] == "--version") {
    print(version_text() + "\n");
    return ExitCode::kDone;
  }
  if (arguments[0] == "--man" || arguments[0] == "--bash-completion") {
    print(arguments[0] == "--man" ? manual_page(commands, LOCKSTEP_VERSION)
                                  : bash_completion(commands));
    return ExitCode::kDone;
  }
  std::vector<std::string> names;
  for (const Command& command : commands) {
    if (command.name != arguments[0]) {
      names.push_back(command.name);
      continue;
    }
    const std::vector<std::string> rest(arguments.begin() + 1, arguments.end());
    for (const std::string& argument : rest) {
      if (argument == "--help" || argument == "-h") {
        print(command_help(command));
        return ExitCode::kDone;
      }
    }
    if (command.name != "train") release_stop_signals();
    return command.run(command, rest);
  }
  const std::string hint = nearest(arguments[0], names);
  if (speaks()) {
    log_error("{}: unknown command{}; lockstep --help lists them", arguments[0],
              hint.empty() ? "" : "; did you mean " + hint + "?");
  }
  return ExitCode::kUsage;
}

// A failure the other ranks do not know of: they must not be waited for.
[[noreturn]] void end_alone(ExitCode code, const std::string& message) {
  log_error("{}", message);
  World::end_job(code, message);
}

int run(const std::vector<std::string>& arguments) {
  try {
    return static_cast<int>(dispatch(arguments));
  } catch (const AgreedError& error) {
    return static_cast<int>(error.code());  // the root has said why
  } catch (...) {
    const Error error = caught_error();
    end_alone(error.code(), error.what());
  }
}

// LibTorch's constructors take a good part of a second before main: a stop signal of that time
// waits until the command says what it means.
[[gnu::section(".preinit_array"), gnu::used]] void (*const kBeforeConstructors)() = [] {
  block_stop_signals();
};

}  // namespace

}  // namespace lockstep

int main(int argc, char** argv) {
  // A file size limit is then a failed write, with a message and an exit code, and not the end.
  std::signal(SIGXFSZ, SIG_IGN);
  // So is a reader of the messages that has gone: with mpirun, most likely, which the watchdog
  // tells.
  std::signal(SIGPIPE, SIG_IGN);
  return lockstep::run(std::vector<std::string>(argv + 1, argv + argc));
}
