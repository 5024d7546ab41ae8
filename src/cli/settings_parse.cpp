#include <fmt/format.h>

#include <algorithm>
#include <boost/program_options.hpp>
#include <filesystem>
#include <iterator>
#include <optional>
#include <system_error>
#include <utility>

#include "cli/settings_file.h"
#include "cli/settings_table.h"
#include "lockstep/base/error.h"
#include "lockstep/base/file.h"
#include "lockstep/base/text.h"
#include "lockstep/cli/settings.h"

namespace lockstep {

namespace {

namespace po = boost::program_options;

constexpr std::size_t kMostProblems = 20;
constexpr std::uint64_t kLargestFile = 1 << 20;

/// A value with the words that name its place: "--epochs" or "digits.ini:12: epochs".
struct Given {
  std::string value;
  std::string place;
};
using GivenValues = std::map<std::string, Given>;

template <typename Items>
auto find_by_name(const Items& items, std::string_view name) {
  return std::ranges::find_if(items, [&](const auto& item) { return item.name == name; });
}

class Parser {
 public:
  explicit Parser(const CommandLine& accepted)
      : accepted_(accepted), table_(make_settings_table()) {
    for (const Setting& setting : table_) names_.push_back(setting.name);
  }

  ParsedSettings parse(std::span<const std::string> arguments) {
    read_command_line(arguments);
    check_positional();
    std::optional<Error> missing_file;
    if (const auto config = command_line_.find("config"); config != command_line_.end()) {
      if (const auto problem = utf8_problem(config->second.value)) {
        report("--config={}: {}", config->second.value, *problem);
      } else {
        missing_file = read_settings_file(config->second.value);
      }
    }
    choose_batch_size();
    ParsedSettings parsed = resolve();
    std::ranges::move(find_contradictions(parsed.settings), std::back_inserter(problems_));
    if (missing_file) {
      if (problems_.empty()) throw *missing_file;
      report("{}", missing_file->what());
    }
    if (!problems_.empty()) fail_with_problems();
    return parsed;
  }

 private:
  template <typename... Args>
  void report(fmt::format_string<Args...> format, Args&&... args) {
    problems_.push_back(fmt::format(format, std::forward<Args>(args)...));
  }

  bool accepts(std::string_view setting) const {
    return accepted_.settings.empty() ||
           std::ranges::find(accepted_.settings, setting) != accepted_.settings.end();
  }

  // An option of the subcommand's own may have the name of a setting it has no use for.
  bool is_own(std::string_view name) const {
    return find_by_name(accepted_.options, name) != accepted_.options.end();
  }

  bool is_repeatable(std::string_view name) const {
    const auto own = find_by_name(accepted_.options, name);
    return own != accepted_.options.end() && own->repeatable;
  }

  po::options_description describe_options() const {
    po::options_description all;
    all.add_options()("config", po::value<std::string>());
    for (const Setting& setting : table_) {
      if (is_own(setting.name)) continue;
      auto* value = po::value<std::string>();
      if (is_flag(setting)) value->implicit_value("yes");
      all.add_options()(setting.name.c_str(), value);
    }
    for (const CommandOption& option : accepted_.options) {
      if (option.value_name.empty()) {
        all.add_options()(option.name.c_str(), "");
      } else {
        all.add_options()(option.name.c_str(), po::value<std::string>());
      }
    }
    return all;
  }

  std::vector<std::string> known_options() const {
    std::vector<std::string> known{"config"};
    std::ranges::copy_if(names_, std::back_inserter(known),
                         [this](const std::string& name) { return accepts(name); });
    for (const CommandOption& option : accepted_.options) known.push_back(option.name);
    return known;
  }

  // Boost stops at the first wrong option; each option is parsed with what follows it alone, so
  // that all of them are reported.
  void read_command_line(std::span<const std::string> arguments) {
    const po::options_description described = describe_options();
    const auto is_option = [](const std::string& argument) { return argument.starts_with("--"); };
    for (auto begin = arguments.begin(); begin != arguments.end();) {
      const auto end = std::find_if(std::next(begin), arguments.end(), is_option);
      if (is_option(*begin)) {
        read_option({begin, end}, described);
      } else {
        std::for_each(begin, end, [this](const std::string& a) { take_argument(a); });
      }
      begin = end;
    }
  }

  void read_option(const std::vector<std::string>& words,
                   const po::options_description& described) {
    const std::string name = words[0].substr(2, words[0].find('=') - 2);
    const std::string shown = "--" + name;
    const bool known = !name.empty() && described.find_nothrow(name, false) != nullptr;
    const auto setting = is_own(name) ? table_.end() : find_by_name(table_, name);
    const auto reason = accepted_.reasons.find(name);
    if (known ? setting != table_.end() && !accepts(name) : reason != accepted_.reasons.end()) {
      return report("{}: is not used by this command{}", shown,
                    reason == accepted_.reasons.end() ? "" : ": " + reason->second);
    }
    if (!known) return report_unknown_option(name);
    const char* const implied = setting != table_.end() && is_flag(*setting) ? "yes" : "";
    using Style = po::command_line_style::style_t;
    try {
      const auto parsed =
          po::command_line_parser(words)
              .options(described)
              .style(Style::allow_long | Style::long_allow_adjacent | Style::long_allow_next)
              .run();
      for (const auto& option : parsed.options) {
        if (option.position_key >= 0) {
          take_argument(option.value[0]);
        } else if (is_own(name) && !option.value.empty() && option.value[0].empty()) {
          report("{}: is empty", shown);
        } else if (is_repeatable(name)) {
          if (const auto problem = utf8_problem(option.value[0])) {
            report("{}={}: {}", shown, option.value[0], *problem);
          }
          lists_[name].push_back(option.value[0]);
        } else {
          add(command_line_, name, {option.value.empty() ? implied : option.value[0], shown});
        }
      }
    } catch (const po::invalid_command_line_syntax& error) {
      if (error.kind() == po::invalid_syntax::extra_parameter) {
        report("{}: takes no value", shown);
      } else {
        report("{}: a value is missing{}", shown, expected_after_colon(name));
      }
    } catch (const po::error& error) {
      report("{}: {}", shown, error.what());
    }
  }

  std::string expected_after_colon(const std::string& name) const {
    const auto setting = find_by_name(table_, name);
    return setting == table_.end() ? "" : fmt::format(": must be {}", expectation(*setting));
  }

  void report_unknown_option(const std::string& name) {
    const std::vector<std::string> known = known_options();
    std::string near = nearest(name, known);
    if (name.starts_with("no-")) {
      const auto setting = find_by_name(table_, name.substr(3));
      if (setting != table_.end() && is_flag(*setting)) near = setting->name + "=no";
    }
    report("--{}: unknown option{}", name,
           near.empty() ? "" : fmt::format("; did you mean --{}?", near));
  }

  // "-" is what many programs read standard input for; "-name" is an option with a dash too few.
  void take_argument(const std::string& argument) {
    const bool dashed = argument.size() > 1 && argument[0] == '-';
    if (dashed || (most_positional() <= 1 && positional_.size() >= most_positional())) {
      return report_argument(argument);
    }
    positional_.push_back(argument);
  }

  std::size_t most_positional() const {
    return accepted_.positional.name.empty() ? 0 : accepted_.positional.most;
  }

  void check_positional() {
    const Positional& wanted = accepted_.positional;
    if (wanted.name.empty()) return;
    if (positional_.size() > wanted.most) {
      report("{}: {} are given, at most {} can be", wanted.name, positional_.size(), wanted.most);
    }
    if (positional_.size() >= wanted.least) return;
    report("{}: {}", wanted.name,
           wanted.least == 1
               ? "is missing"
               : fmt::format("{} are needed, {} given", wanted.least, positional_.size()));
  }

  void report_argument(const std::string& argument) {
    std::string near;
    if (argument.size() > 2 && argument[0] == '-') {
      near = nearest(argument.substr(1, argument.find('=') - 1), known_options());
    }
    report("{}: unexpected argument{}", argument,
           near.empty() ? "" : fmt::format("; did you mean --{}?", near));
  }

  /// Returns the error when the file cannot be opened; other faults are reported.
  std::optional<Error> read_settings_file(const std::string& path) {
    std::string text;
    std::error_code ignored;
    if (std::filesystem::is_directory(path, ignored)) {
      return Error(ExitCode::kInputMissing,
                   fmt::format("--config {}: is a directory, not a settings file", path));
    }
    try {
      text = read_text_file(path, kLargestFile);
    } catch (const Error& error) {
      if (error.code() == ExitCode::kInputMissing) return error;
      report("{}", error.what());
    }
    for (const IniLine& line : parse_ini(text)) {
      const std::string place = fmt::format("{}:{}", path, line.number);
      if (!line.problem.empty()) {
        report("{}: {}", place, line.problem);
      } else if (find_by_name(table_, line.name) == table_.end()) {
        const std::string near = nearest(line.name, names_);
        report("{}: {}: unknown setting{}", place, line.name,
               near.empty() ? "" : fmt::format("; did you mean {}?", near));
      } else {
        add(file_, line.name, {line.value, fmt::format("{}: {}", place, line.name)});
      }
    }
    return std::nullopt;
  }

  void add(GivenValues& values, const std::string& name, Given given) {
    const auto [first, added] = values.try_emplace(name, given);
    if (added) return;
    if (first->second.value.empty() && given.value.empty()) {
      return report("{}: given twice", given.place);
    }
    report("{}: given twice, as '{}' and '{}'", given.place, first->second.value, given.value);
  }

  // batch-size and batch-size-per-rank exclude each other; a per-rank size of 0 means "not this
  // one".
  void choose_batch_size() {
    const auto off = [](const Given& given) {
      return !given.value.empty() && given.value.find_first_not_of('0') == std::string::npos;
    };
    for (const GivenValues& source : {command_line_, file_}) {
      const auto global = source.find("batch-size");
      const auto per_rank = source.find("batch-size-per-rank");
      if (global != source.end() && per_rank != source.end() && !off(per_rank->second)) {
        report("{}: excludes {}: give one of them", per_rank->second.place, global->second.place);
      }
    }
    const auto per_rank = command_line_.find("batch-size-per-rank");
    if (per_rank != command_line_.end() && !off(per_rank->second)) file_.erase("batch-size");
    if (command_line_.contains("batch-size")) file_.erase("batch-size-per-rank");
  }

  ParsedSettings resolve() {
    ParsedSettings parsed;
    for (const Setting& setting : table_) {
      parsed.sources[setting.name] = Source::kDefault;
      for (const auto& [values, source] :
           {std::pair(&command_line_, Source::kCommandLine), std::pair(&file_, Source::kFile)}) {
        const auto given = values->find(setting.name);
        if (given == values->end()) continue;
        if (source == Source::kCommandLine && is_own(setting.name)) continue;
        const auto& [value, place] = given->second;
        // A file may be another command's; what this one has no use for is checked, and has no say.
        const bool counts = source == Source::kCommandLine || accepts(setting.name);
        Settings unused;
        if (counts) parsed.sources[setting.name] = source;
        if (const auto problem = set_value(setting, value, counts ? parsed.settings : unused)) {
          report("{}{}{}: {}", place,
                 value.empty()             ? ""
                 : source == Source::kFile ? " = "
                                           : "=",
                 value, *problem);
        }
        break;
      }
    }
    check_model(parsed.settings.model.name);
    parsed.positional = positional_;
    parsed.lists = lists_;
    for (const CommandOption& option : accepted_.options) {
      const auto given = command_line_.find(option.name);
      if (given == command_line_.end()) continue;
      const auto& [value, place] = given->second;
      if (const auto problem = utf8_problem(value)) report("{}={}: {}", place, value, *problem);
      parsed.options[option.name] = value;
    }
    return parsed;
  }

  void check_model(const std::string& name) {
    const auto& models = accepted_.models;
    if (models.empty() || std::ranges::find(models, name) != models.end()) return;
    const std::string near = nearest(name, models);
    report("model: there is no model '{}'{}; there are {}", name,
           near.empty() ? "" : fmt::format(", did you mean {}?", near), fmt::join(models, ", "));
  }

  [[noreturn]] void fail_with_problems() {
    const std::size_t all = problems_.size();
    if (all > kMostProblems) {
      problems_.resize(kMostProblems);
      report("and {} more problems", all - kMostProblems);
    }
    fail(ExitCode::kUsage, "{}", with_valid_utf8(fmt::format("{}", fmt::join(problems_, "\n"))));
  }

  const CommandLine& accepted_;
  const std::vector<Setting> table_;
  std::vector<std::string> names_;
  GivenValues command_line_;
  std::map<std::string, std::vector<std::string>> lists_;
  std::vector<std::string> positional_;
  GivenValues file_;
  std::vector<std::string> problems_;
};

}  // namespace

ParsedSettings parse_settings(std::span<const std::string> arguments, const CommandLine& accepted) {
  return Parser(accepted).parse(arguments);
}

}  // namespace lockstep
