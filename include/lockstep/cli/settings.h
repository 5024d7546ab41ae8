// The settings of lockstep: every name on a command line or in a settings file, described once (in
// src/cli/settings_table.cpp) and read, checked, printed and compared from that one description.
#pragma once

#include <cstddef>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lockstep/comm/options.h"
#include "lockstep/data/augmentation.h"
#include "lockstep/data/load.h"
#include "lockstep/model/options.h"
#include "lockstep/optim/optimizer.h"
#include "lockstep/optim/schedule.h"
#include "lockstep/train/options.h"

namespace lockstep {

/// The options of all modules. A default-constructed object holds the documented defaults.
struct Settings {
  TrainOptions train;
  ModelOptions model;
  DataOptions data;
  /// false: train on the images as they are; `augmentation` is kept for the record.
  bool augment = true;
  AugmentationOptions augmentation;
  OptimizerOptions optimizer;
  ScheduleOptions schedule;
  CommOptions comm;
  /// Names of settings without a meaning in what is trained: left out of files and records, and not
  /// compared on resume.
  std::vector<std::string> meaningless{};

  /// What training uses: `augmentation`, or all amplitudes 0 when augment is false.
  AugmentationOptions effective_augmentation() const;
};

/// Where a value comes from.
enum class Source { kDefault, kFile, kCommandLine };

/// An option of one subcommand that is no setting: --logits FILE, --json.
struct CommandOption {
  std::string name;        ///< without the dashes; not the name of a setting it accepts
  std::string value_name;  ///< "FILE"; empty: the option is a flag and takes no value
  std::string help;
  bool repeatable = false;  ///< it may be given several times, and has a value
};

/// Arguments of one subcommand that belong to no option: DIR [DIR...].
struct Positional {
  std::string name;  ///< "DIR"; empty: the subcommand takes none
  std::string help;
  std::size_t least = 1;
  std::size_t most = 1;
};

/// What a subcommand accepts on its command line, besides --config FILE.
struct CommandLine {
  Positional positional = {};
  std::vector<CommandOption> options;
  /// Names of the settings it uses; empty: all. A settings file may always hold any setting: the
  /// values of others are checked, and not taken.
  std::vector<std::string> settings;
  /// Names --model may take; empty: any.
  std::vector<std::string> models;
  /// Why it has no use for a setting, or an option of other commands, by name: behind "is not used
  /// by this command".
  std::map<std::string, std::string> reasons = {};
  /// What stands for the value of a setting that is not given, by name, for --help: where the
  /// command does not take the setting's own default.
  std::map<std::string, std::string> defaults = {};
};

struct ParsedSettings {
  Settings settings;
  /// By name, for every setting.
  std::map<std::string, Source> sources;
  /// The subcommand's own options that were given; a flag's value is empty.
  std::map<std::string, std::string> options;
  /// The values of repeatable options that were given, in order; these are not in `options`.
  std::map<std::string, std::vector<std::string>> lists;
  /// In the order given.
  std::vector<std::string> positional;
};

/// Resolves --config FILE and the arguments (argv without the program and the subcommand): command
/// line before file before defaults. `--name value` and `--name=value`; a yes/no setting is yes,
/// true, on or 1, or no, false, off or 0, and `--name` alone means yes. The file holds
/// `name = value` lines; `#` starts a comment at the start of a line or after a blank; a value in
/// double quotes is taken as it is ("" inside for one quote). Of two settings that exclude each
/// other the command line's displaces the file's.
///
/// Throws one Error{kUsage} that lists everything that is wrong, one problem a line, each naming
/// the option or the file and line: unknown names (with the nearest known one), missing, malformed
/// or repeated values, values out of range, positional arguments that are missing or too many,
/// contradictions. When
/// nothing but the settings file is at fault and it cannot be opened: Error{kInputMissing}.
ParsedSettings parse_settings(std::span<const std::string> arguments,
                              const CommandLine& accepted = {});

/// All settings that have a meaning as a file that --config loads back to the same Settings,
/// grouped and commented. Numbers have the fewest digits that read back to the same bits.
std::string settings_to_ini(const Settings& settings);

/// The text of --help: the subcommand's arguments and own options, then the settings it accepts,
/// grouped, with meaning, unit, range and default; lines of at most `width` columns (where a word
/// fits).
std::string settings_help(std::size_t width, const CommandLine& accepted = {});

/// "DIR [DIR...]", "[FILE]" or nothing: the positional arguments in a usage line.
std::string positional_usage(const Positional& positional);

/// The same as Markdown tables, one a group, for the README.
std::string settings_markdown();

/// The exit codes and their meaning, one a line, for --help.
std::string exit_codes_help();
/// The same as a Markdown table.
std::string exit_codes_markdown();

/// The settings that take part in the numbers of a run, name -> value as in the INI: what
/// state.json stores. Settings outside it (limits, intervals, places, logging) never change a
/// weight.
std::map<std::string, std::string> number_settings(const Settings& settings);

/// number_settings as canonical text, "name = value" lines sorted by name.
std::string numbers_fingerprint(const Settings& settings);

/// One line for each setting that a resume must not change and that differs from the stored
/// number_settings, naming both values; exit code kSettings. A setting that `stored` lacks had its
/// default then; a stored name that is unknown here is a contradiction. Empty when the run may go
/// on.
std::vector<std::string> contradictions(const std::map<std::string, std::string>& stored,
                                        const Settings& settings);

}  // namespace lockstep
