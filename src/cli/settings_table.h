// The table of all settings, and reading and writing one value by its row.
#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "lockstep/cli/settings.h"

namespace lockstep {

/// The headings of help, INI and README, in their order.
enum class SettingGroup {
  kData,
  kAugmentation,
  kModel,
  kTraining,
  kOptimizer,
  kSchedule,
  kCommunication,
  kCheckpoints,
  kOutput,
};

/// "Data", "Model and machine".
std::string_view title(SettingGroup group);

/// What a resumed run may do with a setting.
enum class OnResume {
  kFree,               ///< takes no part in the numbers
  kInexact,            ///< may change; the run is then no longer bit-exact
  kByContent,          ///< a place: may change, the content found there is compared instead
  kFixed,              ///< must not change
  kFixedUnderOneCycle  ///< takes part in the numbers, and must not change, under one-cycle only
};

struct ValueRange {
  double least = -std::numeric_limits<double>::infinity();
  double most = std::numeric_limits<double>::infinity();
  bool least_excluded = false;
  bool most_excluded = false;
  bool contains(double value) const {
    return (least_excluded ? value > least : value >= least) &&
           (most_excluded ? value < most : value <= most);
  }
};

/// The place of a setting's value within Settings.
template <typename T>
struct Field {
  T& (*get)(Settings&);
  const T& (*see)(const Settings&);
};
using AnyField = std::variant<Field<bool>, Field<int>, Field<std::int64_t>, Field<std::uint64_t>,
                              Field<double>, Field<std::string>, Field<std::filesystem::path>>;

struct Setting {
  std::string name;
  SettingGroup group = SettingGroup::kData;
  AnyField field;
  ValueRange range{};                  ///< of numbers
  std::vector<std::string> choices{};  ///< of words; empty: any text
  std::string unit{};                  ///< "" where the value has none
  std::string meaning{};
  OnResume on_resume = OnResume::kFixed;
  std::string empty_means{};  ///< what an empty text or path stands for; "": it must not be empty
  std::string before{};  ///< the value in checkpoints older than the setting; "": the default
};

/// All settings, grouped; built on each call.
std::vector<Setting> make_settings_table();

/// Whether it says anything of what these settings train.
bool has_meaning(const Setting& setting, const Settings& settings);

/// The value as the INI holds it, unquoted.
std::string value_text(const Setting& setting, const Settings& settings);
/// The default for people: value_text, or what an empty value stands for.
std::string default_text(const Setting& setting);
/// Stores a value; returns what is wrong with the text ("is not an integer; ..."), or nothing.
std::optional<std::string> set_value(const Setting& setting, std::string_view text,
                                     Settings& settings);

/// What is wrong with a text that is not UTF-8, or nothing.
std::optional<std::string> utf8_problem(std::string_view text);

bool is_flag(const Setting& setting);
/// Placeholder in help: N, NUMBER, PATH, TEXT, or the choices.
std::string value_name(const Setting& setting);
/// ">= 1", "1 to 20", "[0, 1)", "yes or no", "mpi, nccl": what is allowed; empty when anything is.
std::string range_text(const Setting& setting);
/// "an integer >= 1": what a value must be, for messages.
std::string expectation(const Setting& setting);

/// What is wrong with values that are each in range, one sentence each.
std::vector<std::string> find_contradictions(const Settings& settings);

/// What the settings ask for that no training without a validation split has.
std::vector<std::string> problems_without_validation(const Settings& settings);

}  // namespace lockstep
