#include "command_line.h"

#include <fmt/ranges.h>
#include <mpi.h>
#include <sys/ioctl.h>
#include <torch/version.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <iterator>

#include "lockstep/base/text.h"
#include "lockstep/model/network.h"

namespace lockstep {

namespace {

std::size_t help_width() {
  const auto size = terminal_size();
  return size ? std::clamp<std::size_t>(size->columns, 60, 120) : 80;
}

}  // namespace

bool asks_for_help(std::span<const std::string> arguments) {
  return std::ranges::any_of(
      arguments, [](const std::string& word) { return word == "--help" || word == "-h"; });
}

std::string take_kind(const Command& command, std::vector<std::string>& arguments) {
  const auto takes_the_next = [&](const std::string& word) {
    if (!word.starts_with("--") || word.find('=') != std::string::npos) return false;
    const auto option =
        std::ranges::find(command.accepts.options, word.substr(2), &CommandOption::name);
    return option == command.accepts.options.end() || !option->value_name.empty();
  };
  for (auto word = arguments.begin(); word != arguments.end(); ++word) {
    const bool first = word == arguments.begin();
    if (first ? word->starts_with("--")
              : takes_the_next(*std::prev(word)) ||
                    std::ranges::find(command.kinds, *word, &CommandKind::name) ==
                        command.kinds.end()) {
      continue;
    }
    std::string kind = *word;
    arguments.erase(word);
    return kind;
  }
  return "";
}

void require_kind(const Command& command, const std::string& kind) {
  const std::vector<std::string> kinds = command.kind_names();
  if (std::ranges::find(kinds, kind) != kinds.end()) return;
  const std::string near = nearest(kind, kinds);
  fail(ExitCode::kUsage, "lockstep {0}: {1}expected {2}{3}: lockstep {0} {4} [--SETTING VALUE]...",
       command.name, kind.empty() ? "" : kind + ": ", fmt::join(kinds, " or "),
       near.empty() ? "" : "; did you mean " + near + "?", fmt::join(kinds, "|"));
}

void print_or_fail(const std::string& text) {
  if (std::fputs(text.c_str(), stdout) < 0 || std::fflush(stdout) != 0) {
    fail(ExitCode::kInputOutput, "standard output: cannot be written: {}", errno_text(errno));
  }
}

std::optional<TerminalSize> terminal_size() {
  winsize size{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0) {
    return std::nullopt;
  }
  return TerminalSize{.columns = size.ws_col, .rows = size.ws_row};
}

std::string mpi_version() {
  char text[MPI_MAX_LIBRARY_VERSION_STRING];
  int length = 0;
  MPI_Get_library_version(text, &length);
  const std::string version(text, static_cast<std::size_t>(length));
  return version.substr(0, version.find(','));
}

std::string version_text() {
  return fmt::format("lockstep {} (LibTorch {}, {})", LOCKSTEP_VERSION, TORCH_VERSION,
                     mpi_version());
}

std::string program_help(std::span<const Command> commands) {
  std::string text =
      "lockstep: distributed data-parallel training with results that can be proved.\n\n"
      "Usage: [mpirun -n RANKS] lockstep COMMAND [--config FILE] [--SETTING VALUE]...\n\n"
      "Commands:\n";
  for (const Command& command : commands) {
    text += fmt::format("  {:<10} {}\n", command.name, command.summary);
  }
  text +=
      "\nlockstep COMMAND --help lists a command's settings; lockstep --version the versions;\n"
      "lockstep --man is the manual page, lockstep --bash-completion a script for bash to "
      "source.\n\n"
      "Exit codes:\n";
  return text + exit_codes_help();
}

std::vector<std::string> settings_except(const std::vector<std::string>& names) {
  std::vector<std::string> accepted;
  for (const auto& [name, source] : parse_settings({}).sources) {
    if (std::ranges::find(names, name) == names.end()) accepted.push_back(name);
  }
  return accepted;
}

std::string command_help(const Command& command) {
  return command_help(command, "lockstep " + command.name);
}

std::string command_help(const Command& command, const std::string& program) {
  const std::string arguments = positional_usage(command.accepts.positional);
  std::string text = fmt::format(
      "{0}: {1}\n\nUsage: {2}{0}{3}{4}{5}{6} [--config FILE] [--SETTING VALUE]...\n\n", program,
      command.summary, command.alone ? "" : "[mpirun -n RANKS] ", command.kinds.empty() ? "" : " ",
      fmt::join(command.kind_names(), "|"), arguments.empty() ? "" : " ", arguments);
  for (const CommandKind& kind : command.kinds) {
    text += fmt::format("  {:<10} {}\n", kind.name, kind.summary);
  }
  if (!command.kinds.empty()) text += "\n";
  text += settings_help(help_width(), command.accepts);
  if (std::ranges::find(command.accepts.settings, "model") != command.accepts.settings.end() ||
      command.accepts.settings.empty()) {
    text += "\nNetworks for --model:\n";
    for (const NetworkEntry& entry : registered_networks()) {
      text += fmt::format("  {:<12} {}\n", entry.name, entry.summary);
    }
  }
  return text + "\nExit codes:\n" + exit_codes_help();
}

}  // namespace lockstep
