// The program: finds the subcommand and runs it.
#include <string>
#include <vector>

#include "command_line.h"
#include "lockstep/base/log.h"
#include "lockstep/base/text.h"
#include "lockstep/train/stop_signal.h"
#include "manual.h"

namespace lockstep {

namespace {

void print(const std::string& text) {
  if (speaks()) print_or_fail(text);
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
    if (asks_for_help(rest)) {
      print(command_help(command));
      return ExitCode::kDone;
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

}  // namespace

}  // namespace lockstep

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  return lockstep::run_program([&] { return lockstep::dispatch(arguments); });
}
