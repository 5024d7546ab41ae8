#include "command_line.h"

#include <mpi.h>
#include <sys/ioctl.h>
#include <torch/version.h>
#include <unistd.h>

#include <algorithm>

#include "lockstep/model/network.h"

namespace lockstep {

namespace {

std::size_t help_width() {
  winsize size{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return std::clamp<std::size_t>(size.ws_col, 60, 120);
}

}  // namespace

std::string version_text() {
  char mpi[MPI_MAX_LIBRARY_VERSION_STRING];
  int length = 0;
  MPI_Get_library_version(mpi, &length);
  std::string library(mpi, static_cast<std::size_t>(length));
  library = library.substr(0, library.find(','));
  return fmt::format("lockstep {} (LibTorch {}, {})", LOCKSTEP_VERSION, TORCH_VERSION, library);
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
      "\nlockstep COMMAND --help lists a command's settings; lockstep --version the versions.\n\n"
      "Exit codes:\n";
  return text + exit_codes_help();
}

std::string command_help(const Command& command) {
  const std::string arguments = positional_usage(command.accepts.positional);
  std::string text = fmt::format(
      "lockstep {0}: {1}\n\nUsage: {2}lockstep {0}{3}{4} [--config FILE] [--SETTING "
      "VALUE]...\n\n",
      command.name, command.summary, command.alone ? "" : "[mpirun -n RANKS] ",
      arguments.empty() ? "" : " ", arguments);
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
