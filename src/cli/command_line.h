// The subcommands of the program and what --help says of them.
#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lockstep/base/error.h"
#include "lockstep/cli/settings.h"

namespace lockstep {

/// The first argument of a command that does one of several things.
struct CommandKind {
  std::string name;
  std::string summary;  ///< one line
};

struct Command {
  std::string name;
  std::string summary;  ///< one line
  CommandLine accepts;
  /// Its first argument is the name of one of them; empty: it has none.
  std::vector<CommandKind> kinds{};
  std::vector<std::string> kind_names() const {
    std::vector<std::string> names;
    for (const CommandKind& kind : kinds) names.push_back(kind.name);
    return names;
  }
  /// Arguments after the subcommand's name.
  ExitCode (*run)(const Command& command, std::span<const std::string> arguments);
  /// It is started without mpirun.
  bool alone = false;
  /// In the place of --model, where a program has but one; empty: the setting counts.
  std::string model{};
  std::vector<std::string> meaningless{};  ///< see Settings
  std::filesystem::path embedded_data{};   ///< see DataOptions
};

Command train_command();
Command evaluate_command();
Command bench_command();
Command doctor_command();
Command prove_command();
Command predict_command();
Command report_command();
Command inspect_command();

/// The names of all settings but these. What a command does not accept counts neither on its
/// command line nor in a settings file.
std::vector<std::string> settings_except(const std::vector<std::string>& names);

/// Whether --help or -h is one of the words. It may stand where another option's value is missing;
/// a value of that name is written --out=-h.
bool asks_for_help(std::span<const std::string> arguments);
/// The whole of `lockstep --help`.
std::string program_help(std::span<const Command> commands);
/// `lockstep COMMAND --help`.
std::string command_help(const Command& command);
/// The same for a program that is no part of lockstep: `program` is what it is called by.
std::string command_help(const Command& command, const std::string& program);
/// Takes the word that says which of the command's kinds is meant out of `arguments`: the first
/// one, known or not, unless it is an option; else a known one that is no option's value. Empty:
/// none.
std::string take_kind(const Command& command, std::vector<std::string>& arguments);
/// Throws Error{kUsage} unless it is one of the command's kinds.
void require_kind(const Command& command, const std::string& kind);

/// To standard output, at once. Throws Error{kInputOutput} when it cannot be written.
void print_or_fail(const std::string& text);

/// Runs `work` and turns every failure into a message and an exit code: the body of main(). A stop
/// signal waits, from before any constructor, until `work` says what it means (stop_signal.h).
int run_program(const std::function<ExitCode()>& work);
/// Whether this process is the one of its job that prints: before MPI runs, only the launcher's
/// environment tells.
bool speaks();

struct TerminalSize {
  std::size_t columns = 0;
  std::size_t rows = 0;
};
/// Of the terminal that standard output is; nothing where it is none, or does not say.
std::optional<TerminalSize> terminal_size();

/// "Open MPI v4.1.4": what this process is linked with.
std::string mpi_version();
/// "lockstep 0.1.0 (LibTorch 2.11.0, Open MPI ...)": what is needed to reproduce a result.
std::string version_text();

}  // namespace lockstep
