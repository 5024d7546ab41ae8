// The settings as text: INI, --help, Markdown; and the table of exit codes.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "cli/settings_file.h"
#include "cli/settings_table.h"
#include "lockstep/base/error.h"
#include "lockstep/cli/settings.h"

namespace lockstep {

namespace {

constexpr std::array kExitCodes{
    ExitCode::kDone,        ExitCode::kUsage,    ExitCode::kBadData,      ExitCode::kInputMissing,
    ExitCode::kUnavailable, ExitCode::kInternal, ExitCode::kCannotCreate, ExitCode::kInputOutput,
    ExitCode::kStopped,     ExitCode::kDiverged, ExitCode::kSettings,
};

// A blank at which no line is broken: "[0, 1)" stays together.
constexpr char kFixedBlank = '\x1f';

/// The words of `text` in lines of at most `width` columns.
std::vector<std::string> wrap(std::string_view text, std::size_t width) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    const std::size_t space = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, space);
    text.remove_prefix(std::min(space + 1, text.size()));
    if (!lines.empty() && lines.back().size() + 1 + word.size() <= width) {
      lines.back().append(" ").append(word);
    } else {
      lines.emplace_back(word);
    }
  }
  for (std::string& line : lines) std::ranges::replace(line, kFixedBlank, ' ');
  return lines;
}

/// "  --name VALUE    text", the text wrapped beside the name or, where that is long, below it.
std::string help_entry(const std::string& head, std::string_view text, std::size_t width) {
  constexpr std::size_t kIndent = 30;
  const std::size_t text_width = width > kIndent + 20 ? width - kIndent : 20;
  std::string entry = "  " + head;
  bool beside = entry.size() + 2 <= kIndent;
  for (const std::string& line : wrap(text, text_width)) {
    if (beside) {
      entry.append(kIndent - entry.size(), ' ');
    } else {
      entry.append("\n").append(kIndent, ' ');
    }
    entry += line;
    beside = false;
  }
  return entry + '\n';
}

std::string details(const Setting& setting, const CommandLine& accepted) {
  std::vector<std::string> parts;
  if (!setting.unit.empty()) parts.push_back(setting.unit);
  const bool in_head = !setting.choices.empty() || is_flag(setting);
  if (std::string range = range_text(setting); !range.empty() && !in_head) {
    std::ranges::replace(range, ' ', kFixedBlank);
    parts.push_back(range);
  }
  const auto other = accepted.defaults.find(setting.name);
  parts.push_back("default: " +
                  (other == accepted.defaults.end() ? default_text(setting) : other->second));
  return fmt::format("{}", fmt::join(parts, "; "));
}

std::string resume_text(OnResume on_resume) {
  switch (on_resume) {
    case OnResume::kFree:
      return "may change";
    case OnResume::kInexact:
      return "may change, then not bit-exact";
    case OnResume::kByContent:
      return "may move, with the same content";
    case OnResume::kFixed:
      return "fixed";
    case OnResume::kFixedUnderOneCycle:
      return "may change, except under one-cycle";
  }
  return "";
}

// A | would end the cell, and Markdown reads < > as HTML.
std::string markdown_cell(std::string_view text) {
  std::string cell;
  for (const char c : text) {
    if (c == '|' || c == '<' || c == '>') cell += '\\';
    cell += c;
  }
  return cell;
}

/// Calls group_start(group) before each group's first setting and row(setting) for each setting.
template <typename Start, typename Row>
void for_each_in_groups(const std::vector<Setting>& table, Start group_start, Row row) {
  const Setting* last = nullptr;
  for (const Setting& setting : table) {
    if (last == nullptr || last->group != setting.group) group_start(setting.group);
    row(setting);
    last = &setting;
  }
}

}  // namespace

std::string_view title(SettingGroup group) {
  switch (group) {
    case SettingGroup::kData:
      return "Data";
    case SettingGroup::kAugmentation:
      return "Augmentation";
    case SettingGroup::kModel:
      return "Model and machine";
    case SettingGroup::kTraining:
      return "Training";
    case SettingGroup::kOptimizer:
      return "Optimizer";
    case SettingGroup::kSchedule:
      return "Learning rate";
    case SettingGroup::kCommunication:
      return "Communication";
    case SettingGroup::kCheckpoints:
      return "Checkpoints and resume";
    case SettingGroup::kOutput:
      return "Output";
  }
  return "";
}

AugmentationOptions Settings::effective_augmentation() const {
  return augment ? augmentation
                 : AugmentationOptions{.rotation = 0, .zoom = 0, .shift_x = 0, .shift_y = 0};
}

std::string settings_to_ini(const Settings& settings) {
  std::string ini = "# Settings of a lockstep run, complete; --config loads them.\n";
  const bool per_rank = settings.train.batch_size_per_rank > 0;
  std::vector<Setting> table = make_settings_table();
  std::erase_if(table, [&](const Setting& setting) { return !has_meaning(setting, settings); });
  for_each_in_groups(
      table, [&](SettingGroup group) { ini += fmt::format("\n# {}\n", title(group)); },
      [&](const Setting& setting) {
        // Both in one file would exclude each other.
        if (setting.name == (per_rank ? "batch-size" : "batch-size-per-rank")) {
          ini += fmt::format("# {} does not count here\n", setting.name);
          return;
        }
        const std::string value = ini_value(value_text(setting, settings));
        ini += fmt::format("{} ={}{}\n", setting.name, value.empty() ? "" : " ", value);
      });
  return ini;
}

std::string settings_help(std::size_t width, const CommandLine& accepted) {
  std::string help;
  if (!accepted.positional.name.empty()) {
    help += "Arguments:\n" +
            help_entry(positional_usage(accepted.positional), accepted.positional.help, width) +
            "\n";
  }
  help += "Options:\n";
  for (const CommandOption& option : accepted.options) {
    const std::string space = option.value_name.empty() ? "" : " ";
    help += help_entry("--" + option.name + space + option.value_name, option.help, width);
  }
  help += help_entry("--config FILE",
                     "settings file: lines of name = value with the names below; the command line "
                     "beats the file, the file beats the defaults",
                     width);
  std::vector<Setting> table = make_settings_table();
  std::erase_if(table, [&](const Setting& setting) {
    return !accepted.settings.empty() &&
           std::ranges::find(accepted.settings, setting.name) == accepted.settings.end();
  });
  for_each_in_groups(
      table, [&](SettingGroup group) { help += fmt::format("\n{}:\n", title(group)); },
      [&](const Setting& setting) {
        const char* separator = is_flag(setting) ? "[=" : " ";
        const std::string head = fmt::format("--{}{}{}{}", setting.name, separator,
                                             value_name(setting), is_flag(setting) ? "]" : "");
        const std::string text =
            fmt::format("{} ({})", setting.meaning, details(setting, accepted));
        help += help_entry(head, text, width);
      });
  return help;
}

std::string positional_usage(const Positional& positional) {
  const std::string& name = positional.name;
  if (name.empty()) return "";
  const std::string all = name + (positional.most > 1 ? fmt::format(" [{}...]", name) : "");
  return positional.least == 0 ? fmt::format("[{}]", all) : all;
}

std::string settings_markdown() {
  std::string text;
  for_each_in_groups(
      make_settings_table(),
      [&](SettingGroup group) {
        text += fmt::format("{}#### {}\n\n", text.empty() ? "" : "\n", title(group));
        text += "| Setting | Meaning | Unit | Default | Range | On resume |\n";
        text += "| --- | --- | --- | --- | --- | --- |\n";
      },
      [&](const Setting& s) {
        text += fmt::format("| `{}` | {} | {} | {} | {} | {} |\n", s.name, markdown_cell(s.meaning),
                            s.unit, markdown_cell(default_text(s)), markdown_cell(range_text(s)),
                            resume_text(s.on_resume));
      });
  return text;
}

std::string exit_codes_help() {
  std::string text;
  for (const ExitCode code : kExitCodes) {
    text += fmt::format("  {:>2}  {}\n", static_cast<int>(code), describe(code));
  }
  return text;
}

std::string exit_codes_markdown() {
  std::string text = "| Code | Meaning |\n| --- | --- |\n";
  for (const ExitCode code : kExitCodes) {
    text += fmt::format("| {} | {} |\n", static_cast<int>(code), describe(code));
  }
  return text;
}

}  // namespace lockstep
