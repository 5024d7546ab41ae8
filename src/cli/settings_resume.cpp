// What a resume may change.
#include <fmt/format.h>

#include <algorithm>

#include "cli/settings_table.h"
#include "lockstep/cli/settings.h"

namespace lockstep {

namespace {

using Stored = std::map<std::string, std::string>;

bool takes_part(const Setting& setting, const Settings& settings) {
  switch (setting.on_resume) {
    case OnResume::kFree:
      return false;
    case OnResume::kFixedUnderOneCycle:
      return settings.schedule.name == "one-cycle";
    case OnResume::kInexact:
    case OnResume::kByContent:
    case OnResume::kFixed:
      return true;
  }
  return true;
}

std::vector<std::string> changes(const Stored& stored, const Settings& settings, bool inexact) {
  std::vector<std::string> changed;
  for (const Setting& setting : make_settings_table()) {
    if (!takes_part(setting, settings) || setting.on_resume == OnResume::kByContent ||
        (setting.on_resume == OnResume::kInexact) != inexact) {
      continue;
    }
    const auto found = stored.find(setting.name);
    const std::string before =
        found != stored.end() ? found->second : value_text(setting, Settings{});
    const std::string now = value_text(setting, settings);
    if (before != now) {
      changed.push_back(
          fmt::format("{}: the checkpoint has '{}', this start '{}'", setting.name, before, now));
    }
  }
  return changed;
}

}  // namespace

Stored number_settings(const Settings& settings) {
  Stored numbers;
  for (const Setting& setting : make_settings_table()) {
    if (takes_part(setting, settings)) numbers[setting.name] = value_text(setting, settings);
  }
  return numbers;
}

std::string numbers_fingerprint(const Settings& settings) {
  std::string text;
  for (const auto& [name, value] : number_settings(settings)) {
    text += fmt::format("{} = {}\n", name, value);
  }
  return text;
}

std::vector<std::string> contradictions(const Stored& stored, const Settings& settings) {
  std::vector<std::string> found = changes(stored, settings, false);
  const std::vector<Setting> table = make_settings_table();
  for (const auto& [name, value] : stored) {
    if (std::ranges::find(table, name, &Setting::name) == table.end()) {
      found.push_back(
          fmt::format("{}: the checkpoint has '{}', which is unknown here", name, value));
    }
  }
  return found;
}

std::vector<std::string> inexact_changes(const Stored& stored, const Settings& settings) {
  return changes(stored, settings, true);
}

}  // namespace lockstep
