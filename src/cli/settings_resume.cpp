// What a resume may change.
#include <fmt/format.h>

#include <algorithm>

#include "cli/settings_table.h"
#include "lockstep/cli/settings.h"

namespace lockstep {

namespace {

using Stored = std::map<std::string, std::string>;

bool takes_part(const Setting& setting, const Settings& settings) {
  if (!has_meaning(setting, settings)) return false;
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

bool must_match(const Setting& setting, const Settings& settings) {
  return setting.on_resume != OnResume::kInexact && setting.on_resume != OnResume::kByContent &&
         takes_part(setting, settings);
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
  std::vector<std::string> found;
  const std::vector<Setting> table = make_settings_table();
  for (const Setting& setting : table) {
    if (!must_match(setting, settings)) continue;
    const auto before = stored.find(setting.name);
    const bool older = before == stored.end() && !setting.before.empty();
    const std::string then = older                    ? setting.before
                             : before != stored.end() ? before->second
                                                      : value_text(setting, Settings{});
    const std::string now = value_text(setting, settings);
    if (then != now) {
      found.push_back(fmt::format("{}: the checkpoint has '{}'{}, this start '{}'", setting.name,
                                  then, older ? ", being older than this setting" : "", now));
    }
  }
  for (const auto& [name, value] : stored) {
    if (std::ranges::find(table, name, &Setting::name) == table.end()) {
      found.push_back(
          fmt::format("{}: the checkpoint has '{}', which is unknown here", name, value));
    }
  }
  return found;
}

}  // namespace lockstep
