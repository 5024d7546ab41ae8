// lockstep inspect: what is in a data set, a checkpoint or a run, and whether it is whole.
#include <array>
#include <system_error>

#include "checkpoint_choice.h"
#include "cli/inspect_data.h"
#include "command_line.h"
#include "inspect_checkpoint.h"
#include "inspect_run.h"
#include "lockstep/base/file.h"
#include "lockstep/base/log.h"
#include "lockstep/comm/launcher.h"
#include "lockstep/report/data_page.h"
#include "session.h"

namespace lockstep {

namespace {

namespace fs = std::filesystem;

constexpr std::array kDataSettings{"test-data", "validation-fraction", "split-seed", "stratify"};
// What the images of a page are distorted by.
constexpr std::array kPageSettings{"augment", "rotation", "zoom", "shift-x", "shift-y", "seed"};
// Of what is printed to no terminal.
constexpr TerminalSize kPlain{.columns = 100, .rows = 40};

bool names_directory(const fs::path& path) {
  std::error_code error;
  return fs::is_directory(path, error);
}

// What cannot be looked into must not be said to hold nothing.
void require_listable(const fs::path& directory) {
  std::error_code error;
  const fs::directory_iterator unused(directory, error);
  if (!error) return;
  fail(ExitCode::kInputOutput, "{}: cannot be listed: {}", directory.string(), error.message());
}

bool has_data(const fs::path& directory) {
  return has_part(directory, Part::kTraining) || has_part(directory, Part::kTest);
}

template <typename Names>
void refuse_settings(const ParsedSettings& parsed, const Names& names, const std::string& why) {
  for (const char* name : names) {
    if (parsed.sources.at(name) == Source::kCommandLine)
      fail(ExitCode::kUsage, "--{}: {}", name, why);
  }
}

void refuse_data_options(const ParsedSettings& parsed, const fs::path& path, const char* kind) {
  const std::string why = fmt::format("{} is a {}, not a data set", path.string(), kind);
  refuse_settings(parsed, kDataSettings, why);
  refuse_settings(parsed, kPageSettings, why);
  if (parsed.options.contains("out")) fail(ExitCode::kUsage, "--out: {}", why);
}

ExitCode inspect_checkpoint_directory(const fs::path& path, bool json) {
  const CheckpointFacts facts = inspect_checkpoint(path);
  print_or_fail(json ? checkpoint_json(facts) : checkpoint_text(facts));
  return facts.code;
}

ExitCode inspect_run_directory(const fs::path& path, bool json) {
  const RunFacts facts = inspect_run(path);
  const TerminalSize size = terminal_size().value_or(kPlain);
  print_or_fail(json ? run_json(facts) : run_text(facts, size.columns, size.rows));
  return facts.code();
}

void write_page(const DataFacts& facts, const Settings& settings, const fs::path& directory) {
  const DataPage page = make_data_page(facts, {.augmentation = settings.effective_augmentation(),
                                               .seed = settings.train.seed,
                                               .progress = {}});
  const fs::path file = directory / "data.html";
  if (names_directory(file)) {
    fail(ExitCode::kCannotCreate, "{}: is a directory, and no place for a page", file.string());
  }
  lockstep::create_directories(directory);
  replace_file(file, page.html);
  for (const std::string& warning : page.warnings) log_warning("{}", warning);
  log_info("page: {}", file.string());
}

ExitCode inspect_data_set(const ParsedSettings& parsed, const fs::path& path, bool json) {
  const auto out = parsed.options.find("out");
  if (out == parsed.options.end()) {
    refuse_settings(parsed, kPageSettings, "is for the page, and needs --out");
  }
  DataOptions options = parsed.settings.data;
  options.data = path;
  // A settings file's test data belong to its own training data.
  if (parsed.sources.at("test-data") != Source::kCommandLine) options.test_data.clear();
  const DataFacts facts = inspect_data(options);
  if (out != parsed.options.end()) write_page(facts, parsed.settings, out->second);
  print_or_fail(json ? data_json(facts) : data_text(facts));
  return facts.code();
}

ExitCode inspect(const ParsedSettings& parsed) {
  const fs::path path = parsed.positional[0];
  const bool json = parsed.options.contains("json");
  if (!names_directory(path)) return inspect_data_set(parsed, path, json);
  require_listable(path);
  if (looks_like_checkpoint(path)) {
    refuse_data_options(parsed, path, "checkpoint");
    return inspect_checkpoint_directory(path, json);
  }
  if (has_data(path)) return inspect_data_set(parsed, path, json);
  if (looks_like_run(path)) {
    refuse_data_options(parsed, path, "run");
    return inspect_run_directory(path, json);
  }
  if (find_store(path)) {
    refuse_data_options(parsed, path, "directory of checkpoints");
    return inspect_checkpoint_directory(checkpoint_directory(path), json);
  }
  fail(ExitCode::kInputMissing,
       "{}: is no data set (train-images-idx3-ubyte and so on), no checkpoint (MANIFEST.json) and "
       "no run (config.ini, metrics.jsonl)",
       path.string());
}

ExitCode run_inspect(const Command& command, std::span<const std::string> arguments) {
  const ParsedSettings parsed = parse_settings(arguments, command.accepts);
  // Under mpirun every rank would say the same.
  if (launched_rank() > 0) return ExitCode::kDone;
  init_logging(log_level(parsed.settings.train.log_level), 0, 1);
  return inspect(parsed);
}

}  // namespace

Command inspect_command() {
  std::vector<std::string> settings{"log-level"};
  for (const char* name : kDataSettings) settings.emplace_back(name);
  for (const char* name : kPageSettings) settings.emplace_back(name);
  return {.name = "inspect",
          .summary = "what is in a data set, a checkpoint or a run, and whether it is whole",
          .accepts = {.positional =
                          {.name = "PATH",
                           .help = "directory with IDX files, IDX or CSV file, "
                                   "checkpoint or run directory; of a run's checkpoints the best"},
                      .options = {{"json", "", "print one JSON object"},
                                  {"out", "DIR",
                                   "of a data set: write DIR/data.html, a page with pictures, also "
                                   "as --rotation, --zoom and --shift-* distort them"}},
                      .settings = std::move(settings),
                      .models = {}},
          .run = run_inspect,
          .alone = true};
}

}  // namespace lockstep
