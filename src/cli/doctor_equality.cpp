// That all ranks run the same program with the same settings on the same data.
#include <fmt/ranges.h>

#include <map>
#include <set>
#include <utility>

#include "cli/doctor_findings.h"
#include "cli/settings_file.h"

namespace lockstep {

namespace {

template <typename Value>
std::vector<std::string> of_all(const Findings& f, Value value) {
  std::vector<std::string> values;
  for (const RankFacts& rank : f.e.ranks) values.push_back(value(rank));
  return values;
}

std::string short_hash(const std::string& hash) {
  return hash.empty() ? "none" : hash.substr(0, 12);
}

// "rank 3 (node2) has X, ranks 0-2 (node1) have Y": the odd ones first.
std::string who_has_what(const Findings& f, const std::vector<std::string>& values,
                         const Agreement& comparison) {
  std::map<std::string, std::vector<int>> by_value;
  std::vector<std::string> order;
  const auto add = [&](const std::vector<int>& ranks) {
    for (const int rank : ranks) {
      const std::string& value = values[static_cast<std::size_t>(rank)];
      if (by_value[value].empty()) order.push_back(value);
      by_value[value].push_back(rank);
    }
  };
  add(comparison.minority);
  add(comparison.majority);
  std::vector<std::string> parts;
  for (const std::string& value : order) {
    const std::vector<int>& ranks = by_value[value];
    parts.push_back(
        fmt::format("{} {} {}", f.name(ranks), ranks.size() == 1 ? "has" : "have", value));
  }
  return fmt::format("{}{}", fmt::join(parts, ", "),
                     comparison.has_majority ? "" : " (no majority)");
}

void compare_programs(Findings& f) {
  const auto hashes = of_all(f, [](const RankFacts& r) { return short_hash(r.program_sha256); });
  if (const Agreement compared = compare(hashes); !compared.equal) {
    f.fault(ExitCode::kDiverged, "other binaries (SHA-256): {}", who_has_what(f, hashes, compared));
  }
  std::set<std::string> components;
  for (const RankFacts& rank : f.e.ranks) {
    for (const auto& [component, version] : rank.versions) components.insert(component);
  }
  for (const std::string& component : components) {
    const auto versions = of_all(f, [&](const RankFacts& r) {
      const auto found = r.versions.find(component);
      return found == r.versions.end() ? std::string("none") : found->second;
    });
    const Agreement compared = compare(versions);
    if (compared.equal) continue;
    // A kernel takes no part in the numbers.
    if (component == "kernel") {
      f.warn("other {}: {}", component, who_has_what(f, versions, compared));
    } else {
      f.fault(ExitCode::kDiverged, "other {}: {}", component, who_has_what(f, versions, compared));
    }
  }
  const auto devices = of_all(f, [](const RankFacts& r) { return r.device; });
  if (const Agreement compared = compare(devices); !compared.equal) {
    f.warn("other devices, so results are not repeatable between these ranks: {}",
           who_has_what(f, devices, compared));
  }
}

std::map<std::string, std::string> lines_of(const std::string& ini) {
  std::map<std::string, std::string> values;
  for (const IniLine& line : parse_ini(ini)) {
    values[line.name] = line.value.empty() ? "\"\"" : ini_value(line.value);
  }
  return values;
}

void compare_settings(Findings& f) {
  const auto texts = of_all(f, [](const RankFacts& r) { return r.settings; });
  const Agreement compared = compare(texts);
  if (compared.equal) return;
  const auto common = lines_of(f.facts(compared.majority.front()).settings);
  std::map<std::string, std::vector<int>> by_difference;
  for (const int rank : compared.minority) {
    std::vector<std::string> differences;
    for (const auto& [setting, value] : lines_of(f.facts(rank).settings)) {
      const auto other = common.find(setting);
      if (other != common.end() && other->second == value) continue;
      differences.push_back(fmt::format("{} = {} instead of {}", setting, value,
                                        other == common.end() ? "nothing" : other->second));
    }
    const std::size_t all = differences.size();
    if (all > 3) {
      differences.resize(3);
      differences.push_back(fmt::format("{} more", all - 3));
    }
    by_difference[fmt::format("{}", fmt::join(differences, ", "))].push_back(rank);
  }
  for (const auto& [differences, ranks] : by_difference) {
    f.fault(ExitCode::kDiverged, "other settings on {} than on {}: {}", f.name(ranks),
            f.name(compared.majority), differences);
  }
}

void compare_data(Findings& f) {
  std::map<std::pair<int, std::string>, std::vector<int>> unreadable;
  for (const RankFacts& rank : f.e.ranks) {
    if (rank.data_code != 0) unreadable[{rank.data_code, rank.data_problem}].push_back(rank.rank);
  }
  for (const auto& [why, ranks] : unreadable) {
    f.fault(static_cast<ExitCode>(why.first), "data on {}: {}", f.name(ranks), why.second);
  }
  if (!unreadable.empty()) return;
  const auto training = of_all(f, [](const RankFacts& r) { return short_hash(r.data_sha256); });
  if (const Agreement compared = compare(training); !compared.equal) {
    f.fault(ExitCode::kDiverged, "other training data (SHA-256): {}",
            who_has_what(f, training, compared));
  }
  const auto test = of_all(f, [](const RankFacts& r) { return short_hash(r.test_sha256); });
  if (const Agreement compared = compare(test); !compared.equal) {
    f.fault(ExitCode::kDiverged, "other test data (SHA-256): {}", who_has_what(f, test, compared));
  }
}

}  // namespace

void compare_ranks(Findings& findings) {
  compare_programs(findings);
  compare_settings(findings);
  compare_data(findings);
}

}  // namespace lockstep
