#include "cli/manual.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <optional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "cli/settings_table.h"
#include "lockstep/cli/settings.h"

namespace lockstep {

namespace {

bool accepts(const Command& command, const Setting& setting) {
  const auto& names = command.accepts.settings;
  const bool is_own = std::ranges::find(command.accepts.options, setting.name,
                                        &CommandOption::name) != command.accepts.options.end();
  return !is_own && (names.empty() || std::ranges::find(names, setting.name) != names.end());
}

// ----------------------------------------------------------------------------------- manual page

// Text as troff shows it: a hyphen that can be copied, no escapes, no request at a line's start.
std::string troff(std::string_view text) {
  std::string result;
  for (const char c : text) {
    if (result.empty() && (c == '.' || c == '\'')) result += "\\&";
    if (c == '\\') {
      result += "\\e";
    } else if (c == '-') {
      result += "\\-";
    } else {
      result += c;
    }
  }
  return result;
}

// A tagged paragraph: --name VALUE and what it means.
std::string entry(std::string_view name, std::string_view value, std::string_view text) {
  return fmt::format(".TP\n\\fB{}\\fR{}\n{}\n", troff(name),
                     value.empty() ? "" : fmt::format(" \\fI{}\\fR", troff(value)), troff(text));
}

std::string setting_text(const Setting& setting) {
  std::string text = setting.meaning;
  if (!setting.unit.empty()) text += fmt::format("; {}", setting.unit);
  const std::string range = range_text(setting);
  if (!range.empty() && setting.choices.empty() && !is_flag(setting)) {
    text += fmt::format("; {}", range);
  }
  return fmt::format("{}; default: {}", text, default_text(setting));
}

std::string command_section(const Command& command) {
  const std::string arguments = positional_usage(command.accepts.positional);
  std::string text =
      fmt::format(".SS \"lockstep {}{}{}{}{}\"\n{}.\n", command.name,
                  command.kinds.empty() ? "" : " ", fmt::join(command.kind_names(), "|"),
                  arguments.empty() ? "" : " ", troff(arguments), troff(command.summary));
  for (const CommandKind& kind : command.kinds) text += entry(kind.name, "", kind.summary);
  if (!arguments.empty()) text += entry(arguments, "", command.accepts.positional.help);
  for (const CommandOption& option : command.accepts.options) {
    text += entry("--" + option.name, option.value_name, option.help);
  }
  text += ".PP\n";
  if (command.accepts.settings.empty()) {
    text += "All settings";
  } else {
    text += "Settings:";
    for (const std::string& name : command.accepts.settings) text.append(" ").append(troff(name));
  }
  text += ".\n";
  if (command.accepts.defaults.empty()) return text;
  text += "Other defaults than theirs:";
  const char* separator = " ";
  for (const auto& [name, value] : command.accepts.defaults) {
    text += fmt::format("{}{}, {}", std::exchange(separator, "; "), troff(name), troff(value));
  }
  return text + ".\n";
}

std::string settings_section() {
  std::string text = ".SH SETTINGS\n";
  text +=
      entry("--config", "FILE",
            "read settings from FILE, lines of the form name = value; the command line beats it");
  text += entry("--help", "", "list the settings of a command");
  std::optional<SettingGroup> group;
  for (const Setting& setting : make_settings_table()) {
    if (group != setting.group) text += fmt::format(".SS \"{}\"\n", title(setting.group));
    group = setting.group;
    text += entry("--" + setting.name, value_name(setting), setting_text(setting));
  }
  return text;
}

// The table of --help: a code and its meaning a line.
std::string exit_section() {
  std::string text = ".SH \"EXIT STATUS\"\n";
  std::istringstream lines(exit_codes_help());
  std::string code;
  for (std::string meaning; lines >> code && std::getline(lines >> std::ws, meaning);) {
    text += entry(code, "", meaning);
  }
  return text;
}

// ------------------------------------------------------------------------------------ completion

// What may follow an option: words, or how to find them.
std::string candidates(const std::string& value) {
  if (value.find('|') != std::string::npos) {
    std::string words = value;
    std::ranges::replace(words, '|', ' ');
    return words;
  }
  if (value == "FILE" || value == "PATH") return "@files";
  if (value == "DIR") return "@directories";
  return "@any";
}

std::string values_of(const Command& command) {
  std::string cases;
  const auto add = [&](const std::string& name, const std::string& words) {
    cases += fmt::format("    '{} --{}') echo '{}' ;;\n", command.name, name, words);
  };
  add("config", "@files");
  for (const CommandOption& option : command.accepts.options) {
    if (!option.value_name.empty()) add(option.name, candidates(option.value_name));
  }
  for (const Setting& setting : make_settings_table()) {
    if (!accepts(command, setting)) continue;
    std::string words = candidates(value_name(setting));
    if (setting.name == "model" && !command.accepts.models.empty()) {
      words = fmt::format("{}", fmt::join(command.accepts.models, " "));
    }
    add(setting.name, words);
  }
  return cases;
}

std::string kinds_of(const Command& command) {
  if (command.kinds.empty()) return "";
  return fmt::format("    {}) echo '{}' ;;\n", command.name, fmt::join(command.kind_names(), " "));
}

std::string options_of(const Command& command) {
  std::string words = "--help --config";
  for (const CommandOption& option : command.accepts.options) words += " --" + option.name;
  for (const Setting& setting : make_settings_table()) {
    if (accepts(command, setting)) words += " --" + setting.name;
  }
  return fmt::format("    {}) echo '{}' ;;\n", command.name, words);
}

constexpr char kCompletion[] = R"bash(
_lockstep() {
  local current="${COMP_WORDS[COMP_CWORD]}" previous="${COMP_WORDS[COMP_CWORD - 1]}"
  local command="" kinds values i
  # Bash takes --name=value apart at the equals sign.
  if [[ "$current" == "=" ]]; then
    current=""
  elif [[ "$previous" == "=" ]]; then
    previous="${COMP_WORDS[COMP_CWORD - 2]}"
  fi
  for ((i = 1; i < COMP_CWORD; i++)); do
    if [[ " $_lockstep_commands " == *" ${COMP_WORDS[i]} "* ]]; then
      command="${COMP_WORDS[i]}"
      break
    fi
  done
  COMPREPLY=()
  if [[ -z "$command" ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$_lockstep_commands --help --version" -- "$current")
    return
  fi
  kinds="$(_lockstep_kinds "$command")"
  if [[ -n "$kinds" && "${COMP_WORDS[COMP_CWORD - 1]}" == "$command" && "$current" != -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$kinds" -- "$current")
    return
  fi
  values="$(_lockstep_values "$command $previous")"
  case "$values" in
    @any) ;;
    @directories)
      compopt -o filenames 2>/dev/null
      mapfile -t COMPREPLY < <(compgen -d -- "$current")
      ;;
    "")
      if [[ "$current" == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$(_lockstep_options "$command")" -- "$current")
      else
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
      fi
      ;;
    @files)
      compopt -o filenames 2>/dev/null
      mapfile -t COMPREPLY < <(compgen -f -- "$current")
      ;;
    *) mapfile -t COMPREPLY < <(compgen -W "$values" -- "$current") ;;
  esac
}
complete -F _lockstep lockstep
)bash";

}  // namespace

std::string manual_page(std::span<const Command> commands, std::string_view version) {
  std::string text = fmt::format(
      ".TH LOCKSTEP 1 \"\" \"lockstep {}\" \"User Commands\"\n"
      ".SH NAME\nlockstep \\- distributed data\\-parallel training with results that can be "
      "proved\n"
      ".SH SYNOPSIS\n"
      "[\\fBmpirun \\-n\\fR \\fIRANKS\\fR] \\fBlockstep\\fR \\fICOMMAND\\fR [\\fB\\-\\-config\\fR "
      "\\fIFILE\\fR] [\\fB\\-\\-\\fISETTING\\fR \\fIVALUE\\fR]...\n.br\n"
      "\\fBlockstep\\fR \\fICOMMAND\\fR \\fB\\-\\-help\\fR\n"
      ".SH DESCRIPTION\n"
      "Trains a LibTorch network on labelled images with one process, or with as many as mpirun "
      "starts: each computes its share of every batch, and all hold the same weights, bit for bit. "
      "A run can be stopped, resumed and repeated with the same result. Settings come from the "
      "command line, from the file of \\fB\\-\\-config\\fR (lines \\fIname = value\\fR), or have "
      "their defaults, in this order.\n"
      ".SH COMMANDS\n",
      troff(version));
  for (const Command& command : commands) text += command_section(command);
  text += settings_section();
  text += exit_section();
  return text +
         ".SH SIGNALS\n"
         "A training finishes its step, writes a checkpoint and ends with 75 on SIGUSR1 "
         "(preempted) "
         "and SIGUSR2 (interrupted); sent to mpirun, they reach every rank.\n"
         ".SH \"SEE ALSO\"\nmpirun(1)\n";
}

std::string bash_completion(std::span<const Command> commands) {
  std::string names;
  std::string kinds;
  std::string options;
  std::string values;
  for (const Command& command : commands) {
    names += (names.empty() ? "" : " ") + command.name;
    kinds += kinds_of(command);
    options += options_of(command);
    values += values_of(command);
  }
  return fmt::format(
             "# bash completion for lockstep; made by: lockstep --bash-completion\n"
             "_lockstep_commands='{}'\n\n"
             "_lockstep_kinds() {{\n  case \"$1\" in\n{}  esac\n}}\n\n"
             "_lockstep_options() {{\n  case \"$1\" in\n{}  esac\n}}\n\n"
             "# \"COMMAND --OPTION\" -> words, @files, @directories, or @any for a value of "
             "another "
             "kind.\n_lockstep_values() {{\n  case \"$1\" in\n{}  esac\n}}\n",
             names, kinds, options, values) +
         kCompletion;
}

}  // namespace lockstep
