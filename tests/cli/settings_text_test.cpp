// INI, help and Markdown come from the one table: nothing is missing, and everything reads back.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <random>
#include <regex>
#include <sstream>

#include "cli/settings_file.h"
#include "cli/settings_table.h"
#include "lockstep/base/error.h"
#include "refusal.h"

namespace lockstep {
namespace {

using testing::ContainsRegex;
using testing::HasSubstr;

/// Random values, each allowed by its row of the table; no regard to contradictions.
class RandomValues {
 public:
  explicit RandomValues(unsigned seed) : engine_(seed) {}

  std::string text(const Setting& setting) {
    if (!setting.choices.empty()) return setting.choices[below(setting.choices.size())];
    return std::visit([&]<typename T>(const Field<T>&) { return value_of<T>(setting); },
                      setting.field);
  }
  std::size_t below(std::size_t end) {
    return std::uniform_int_distribution<std::size_t>(0, end - 1)(engine_);
  }

 private:
  template <typename T>
  std::string value_of(const Setting& setting) {
    if constexpr (std::is_same_v<T, bool>) {
      return below(2) == 0 ? "true" : "false";
    } else if constexpr (std::is_floating_point_v<T>) {
      return number(setting.range);
    } else if constexpr (std::is_arithmetic_v<T>) {
      constexpr double kTypeMost = static_cast<double>(std::numeric_limits<T>::max());
      const double most = std::min(setting.range.most, kTypeMost);
      const double scale = std::uniform_real_distribution<>(0, 1)(engine_);
      const double value = std::floor(std::pow(most - setting.range.least, scale)) - 1;
      return fmt::format("{:.0f}", std::max(value, 0.0) + setting.range.least);
    } else {
      return any_text(setting.empty_means.empty() ? 1 : 0);
    }
  }
  std::string number(const ValueRange& range) {
    std::uniform_int_distribution<std::uint64_t> bits;
    while (true) {
      const double any = std::bit_cast<double>(bits(engine_));
      if (std::isfinite(any) && range.contains(any)) return fmt::format("{}", any);
    }
  }
  std::string any_text(std::size_t least) {
    // The last one takes two bytes.
    constexpr std::array<std::string_view, 17> kLetters{"a", "b",  "/", ".", "#",       " ",
                                                        "=", "\"", "'", "[", "]",       "\\",
                                                        "|", "<",  ">", "-", "\xc3\xa4"};
    std::string text;
    for (std::size_t letters = least + below(6); letters > 0; --letters) {
      text += kLetters[below(kLetters.size())];
    }
    return text;
  }

  std::mt19937_64 engine_;
};

void expect_equal(const Settings& a, const Settings& b) {
  for (const Setting& setting : make_settings_table()) {
    std::visit([&](const auto& field) { EXPECT_EQ(field.see(a), field.see(b)) << setting.name; },
               setting.field);
  }
}

Settings random_settings(unsigned seed) {
  RandomValues values(seed);
  Settings settings;
  for (const Setting& setting : make_settings_table()) {
    const std::string text = values.text(setting);
    EXPECT_EQ(set_value(setting, text, settings), std::nullopt) << setting.name << " = " << text;
  }
  // Out of the batch sizes one counts, and what contradicts is taken back.
  (settings.train.batch_size_per_rank > 0 ? settings.train.batch_size
                                          : settings.train.batch_size_per_rank) =
      settings.train.batch_size_per_rank > 0 ? Settings{}.train.batch_size : 0;
  settings.train.virtual_ranks = 0;
  settings.optimizer.nesterov = false;
  if (settings.optimizer.name == "adamw") settings.optimizer.momentum = 0;
  if (settings.comm.backend == "nccl") settings.model.device = "cuda";
  if (settings.model.device == "cuda") settings.model.convolution = "auto";
  if (settings.train.resume == "auto") settings.train.resume = "none";
  if (settings.schedule.name == "plateau") settings.schedule.name = "constant";
  if (settings.data.validation_fraction == 0) settings.train.early_stopping = 0;
  settings.comm.inject_fault =
      seed % 2 == 0 ? "" : "kill@forward:rank=1,step=7; stop@load:rank=all";
  return settings;
}

Settings load(const std::string& ini) {
  const std::string path = testing::TempDir() + fmt::format("settings-{}.ini", getpid());
  std::ofstream(path, std::ios::binary) << ini;
  const Settings settings = parse_settings(Arguments{"--config", path}).settings;
  std::filesystem::remove(path);
  return settings;
}

TEST(SettingsTable, NamesAreUniqueAndSpelledAlike) {
  std::vector<std::string> names;
  for (const Setting& setting : make_settings_table()) {
    names.push_back(setting.name);
    EXPECT_THAT(setting.name, ContainsRegex("^[a-z][a-z0-9]*(-[a-z0-9]+)*$"));
    EXPECT_FALSE(setting.meaning.empty()) << setting.name;
    EXPECT_NE(setting.meaning.back(), '.') << setting.name;
  }
  std::ranges::sort(names);
  EXPECT_EQ(std::ranges::adjacent_find(names), names.end());
}

TEST(SettingsTable, EverySettingHasItsOwnField) {
  const std::vector<Setting> table = make_settings_table();
  Settings settings;
  std::vector<const void*> places;
  for (const Setting& setting : table) {
    std::visit([&](const auto& field) { places.push_back(&field.get(settings)); }, setting.field);
  }
  std::ranges::sort(places);
  EXPECT_EQ(std::ranges::adjacent_find(places), places.end());
}

TEST(SettingsTable, DefaultsSatisfyTheirRanges) {
  Settings settings;
  for (const Setting& setting : make_settings_table()) {
    EXPECT_EQ(set_value(setting, value_text(setting, Settings{}), settings), std::nullopt)
        << setting.name;
  }
  expect_equal(settings, Settings{});
}

// The bounds here and those of the modules that use the values agree, at both ends of every range.
TEST(SettingsTable, RangesAreThoseOfTheModules) {
  for (const Setting& setting : make_settings_table()) {
    const auto* field = std::get_if<Field<double>>(&setting.field);
    if (field == nullptr) continue;
    for (const double bound : {setting.range.least, setting.range.most}) {
      if (!std::isfinite(bound)) continue;
      for (const double value :
           {std::nextafter(bound, -INFINITY), bound, std::nextafter(bound, INFINITY)}) {
        Settings settings;
        settings.schedule.min_learning_rate = 0;
        settings.optimizer.name = "sgd";
        field->get(settings) = value;
        const bool refused =
            !problems(settings.optimizer).empty() || !problems(settings.schedule).empty();
        const bool owned =
            setting.group == SettingGroup::kOptimizer || setting.group == SettingGroup::kSchedule;
        EXPECT_EQ(refused, owned && !setting.range.contains(value)) << setting.name << " " << value;
      }
    }
  }
}

TEST(SettingsIni, RandomSettingsReadBackToTheSameBits) {
  for (unsigned seed = 0; seed < 300; ++seed) {
    const Settings settings = random_settings(seed);
    const std::string ini = settings_to_ini(settings);
    SCOPED_TRACE(ini);
    const Settings loaded = load(ini);
    expect_equal(loaded, settings);
    EXPECT_EQ(settings_to_ini(loaded), ini);
    if (HasFailure()) return;
  }
}

TEST(SettingsIni, HoldsEverySettingOnceAndReadably) {
  const std::string ini = settings_to_ini(Settings{});
  for (const Setting& setting : make_settings_table()) {
    const std::vector<IniLine> lines = parse_ini(ini);
    const auto count = std::ranges::count(lines, setting.name, &IniLine::name);
    EXPECT_EQ(count, setting.name == "batch-size-per-rank" ? 0 : 1) << setting.name;
  }
  EXPECT_THAT(ini, HasSubstr("\nlearning-rate = 0.001\n"));
  EXPECT_THAT(ini, HasSubstr("\nvalidation-fraction = 0.1\n"));
  EXPECT_THAT(ini, HasSubstr("\n# Training\nepochs = 30\nbatch-size = 86\n"));
  EXPECT_THAT(ini, HasSubstr("\ndata =\n"));
  Settings settings;
  settings.train.batch_size_per_rank = 8;
  EXPECT_THAT(settings_to_ini(settings), HasSubstr("\nbatch-size-per-rank = 8\n"));
  EXPECT_THAT(settings_to_ini(settings), testing::Not(HasSubstr("\nbatch-size = ")));
  // What has no meaning is left out, and so is a group of nothing else.
  settings.meaningless = {"augment", "rotation", "zoom", "shift-x", "shift-y", "stratify"};
  const std::string without = settings_to_ini(settings);
  for (const char* name : {"augment", "rotation", "Augmentation", "stratify"}) {
    EXPECT_THAT(without, testing::Not(HasSubstr(name)));
  }
  EXPECT_THAT(without, HasSubstr("\nsplit-seed = "));
}

TEST(SettingsHelp, NamesEverySettingWithItsDefaultAndRange) {
  const std::string help = settings_help(100);
  const std::string markdown = settings_markdown();
  for (const Setting& setting : make_settings_table()) {
    EXPECT_THAT(help, HasSubstr("\n  --" + setting.name + (is_flag(setting) ? "[=yes|no]" : " ")));
    EXPECT_THAT(markdown, HasSubstr("\n| `" + setting.name + "` | "));
    EXPECT_EQ(std::ranges::count(markdown, '\n') > 60, true);
  }
  std::string unwrapped = std::regex_replace(help, std::regex("\n? +"), " ");
  EXPECT_THAT(unwrapped, HasSubstr("(seconds; > 0; default: 120)"));
  EXPECT_THAT(unwrapped, HasSubstr("--last-batch keep|drop train on"));
  EXPECT_THAT(unwrapped, HasSubstr("(default: runs/<model>-<time>)"));
  EXPECT_THAT(unwrapped, HasSubstr("(degrees; 0 to 180; default: 10)"));
  EXPECT_THAT(help, HasSubstr("[0, 1)")) << "a range is not broken";
  EXPECT_THAT(help, testing::Not(testing::ContainsRegex("[[(][0-9]+,\n")));
}

TEST(SettingsHelp, StaysWithinTheWidth) {
  for (const std::size_t width : {72u, 80u, 100u, 200u}) {
    std::istringstream lines(settings_help(width));
    for (std::string line; std::getline(lines, line);) {
      EXPECT_LE(line.size(), width) << line;
      EXPECT_FALSE(line.ends_with(' ')) << line;
    }
  }
  EXPECT_FALSE(settings_help(0).empty());
}

TEST(SettingsHelp, OfASubcommandShowsWhatItAccepts) {
  const std::string help = settings_help(
      80, {.options = {{"json", "", "print JSON"}}, .settings = {"data"}, .models = {}});
  EXPECT_THAT(help, HasSubstr("--json "));
  EXPECT_THAT(help, HasSubstr("--data PATH"));
  EXPECT_THAT(help, testing::Not(HasSubstr("--epochs")));
  EXPECT_THAT(help, testing::Not(HasSubstr("Optimizer")));
  const std::string own = settings_help(80, {.options = {},
                                             .settings = {"threads", "device"},
                                             .models = {},
                                             .defaults = {{"threads", "mine"}}});
  EXPECT_THAT(own, HasSubstr("default: mine)"));
  EXPECT_THAT(own, HasSubstr("default: auto)"));
}

TEST(SettingsHelp, NamesPositionalArguments) {
  const Positional one{.name = "DIR", .help = "a run directory"};
  EXPECT_EQ(positional_usage(one), "DIR");
  EXPECT_EQ(positional_usage({.name = "DIR", .help = "", .least = 0, .most = 1}), "[DIR]");
  EXPECT_EQ(positional_usage({.name = "DIR", .help = "", .least = 1, .most = 9}), "DIR [DIR...]");
  EXPECT_EQ(positional_usage({}), "");
  const std::string help = settings_help(
      80, {.positional = one, .options = {}, .settings = {"log-level"}, .models = {}});
  EXPECT_THAT(help, testing::StartsWith("Arguments:\n  DIR   "));
  EXPECT_THAT(help, HasSubstr("a run directory"));
}

TEST(SettingsMarkdown, EveryRowHasAllCells) {
  std::istringstream lines(settings_markdown());
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with('|')) continue;
    const std::string bare = std::regex_replace(line, std::regex(R"(\\\|)"), "");
    EXPECT_EQ(std::ranges::count(bare, '|'), 7) << line;
  }
}

TEST(ExitCodes, AreAllListedWithTheirMeaning) {
  const std::string help = "\n" + exit_codes_help();
  const std::string markdown = exit_codes_markdown();
  for (const int code : {0, 64, 65, 66, 69, 70, 73, 74, 75, 76, 78}) {
    const std::string meaning(describe(static_cast<ExitCode>(code)));
    EXPECT_THAT(help, HasSubstr(fmt::format("\n  {:>2}  {}\n", code, meaning)));
    EXPECT_THAT(markdown, HasSubstr(fmt::format("\n| {} | {} |\n", code, meaning)));
  }
}

}  // namespace
}  // namespace lockstep
