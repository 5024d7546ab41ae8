// The subcommands of the program and what --help says of them.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "lockstep/base/error.h"
#include "lockstep/cli/settings.h"

namespace lockstep {

struct Command {
  std::string name;
  std::string summary;  ///< one line
  CommandLine accepts;
  /// Arguments after the subcommand's name.
  ExitCode (*run)(const Command& command, std::span<const std::string> arguments);
  /// It is started without mpirun.
  bool alone = false;
};

Command train_command();
Command evaluate_command();
Command bench_command();
Command doctor_command();
Command prove_command();
Command report_command();

/// The whole of `lockstep --help`.
std::string program_help(std::span<const Command> commands);
/// `lockstep COMMAND --help`.
std::string command_help(const Command& command);
/// "lockstep 0.1.0 (LibTorch 2.11.0, Open MPI ...)": what is needed to reproduce a result.
std::string version_text();

}  // namespace lockstep
