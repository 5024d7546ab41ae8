// lockstep inspect: what is in a data set or a checkpoint, and whether it is whole.
#include <system_error>

#include "cli/inspect_data.h"
#include "command_line.h"
#include "inspect_checkpoint.h"
#include "lockstep/comm/launcher.h"

namespace lockstep {

namespace {

namespace fs = std::filesystem;

bool names_directory(const fs::path& path) {
  std::error_code error;
  return fs::is_directory(path, error);
}

void require_only_data_options(const ParsedSettings& parsed, const fs::path& path) {
  for (const char* name : {"test-data", "validation-fraction", "split-seed", "stratify"}) {
    if (parsed.sources.at(name) != Source::kCommandLine) continue;
    fail(ExitCode::kUsage, "--{}: {} is a checkpoint, not a data set", name, path.string());
  }
}

ExitCode inspect(const ParsedSettings& parsed) {
  const fs::path path = parsed.positional[0];
  const bool json = parsed.options.contains("json");
  if (names_directory(path) && looks_like_checkpoint(path)) {
    require_only_data_options(parsed, path);
    const CheckpointFacts facts = inspect_checkpoint(path);
    print_or_fail(json ? checkpoint_json(facts) : checkpoint_text(facts));
    return facts.code;
  }
  DataOptions options = parsed.settings.data;
  options.data = path;
  const DataFacts facts = inspect_data(options);
  print_or_fail(json ? data_json(facts) : data_text(facts));
  return facts.code();
}

ExitCode run_inspect(const Command& command, std::span<const std::string> arguments) {
  const ParsedSettings parsed = parse_settings(arguments, command.accepts);
  // Under mpirun every rank would say the same.
  if (launched_rank() > 0) return ExitCode::kDone;
  return inspect(parsed);
}

}  // namespace

Command inspect_command() {
  return {
      .name = "inspect",
      .summary = "what is in a data set or a checkpoint, and whether it is whole",
      .accepts = {.positional = {.name = "PATH",
                                 .help = "directory with IDX files, IDX or CSV file, or checkpoint "
                                         "directory"},
                  .options = {{"json", "", "print one JSON object"}},
                  .settings = {"test-data", "validation-fraction", "split-seed", "stratify"},
                  .models = {}},
      .run = run_inspect,
      .alone = true};
}

}  // namespace lockstep
