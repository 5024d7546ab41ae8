// From measurements to findings and a verdict.
#include "cli/doctor_findings.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <bit>
#include <map>
#include <set>

#include "lockstep/comm/operation.h"

namespace lockstep {

std::string Findings::name(int rank) const {
  return fmt::format("rank {} ({})", rank, facts(rank).host);
}

std::string Findings::name(const std::vector<int>& ranks) const {
  std::set<std::string> hosts;
  for (const int rank : ranks) hosts.insert(facts(rank).host);
  if (hosts.size() > 4) return describe_ranks(ranks);
  return fmt::format("{} ({})", describe_ranks(ranks), fmt::join(hosts, ", "));
}

std::vector<int> Findings::first_of_hosts() const {
  std::vector<int> first;
  std::set<std::string> seen;
  for (const RankFacts& rank : e.ranks) {
    if (seen.insert(rank.host).second) first.push_back(rank.rank);
  }
  return first;
}

std::string from_to(const std::vector<double>& values, int digits) {
  const auto [least, most] = std::ranges::minmax(values);
  const std::string low = fmt::format("{:.{}f}", least, digits);
  const std::string high = fmt::format("{:.{}f}", most, digits);
  return low == high ? low : low + " to " + high;
}

Agreement compare(const std::vector<std::string>& values) {
  std::map<std::string, std::vector<int>> ranks_of;
  for (std::size_t rank = 0; rank < values.size(); ++rank) {
    ranks_of[values[rank]].push_back(static_cast<int>(rank));
  }
  Agreement comparison;
  if (ranks_of.empty()) return comparison;
  std::size_t most = 0;
  for (const auto& [value, ranks] : ranks_of) most = std::max(most, ranks.size());
  std::string common;
  int ties = 0;
  for (const auto& [value, ranks] : ranks_of) {
    if (ranks.size() != most) continue;
    // Of equally frequent values, that of the lowest rank stands as the one to compare with.
    if (ties++ == 0 || ranks.front() < ranks_of[common].front()) common = value;
  }
  comparison.equal = ranks_of.size() == 1;
  comparison.has_majority = ties == 1;
  for (std::size_t rank = 0; rank < values.size(); ++rank) {
    (values[rank] == common ? comparison.majority : comparison.minority)
        .push_back(static_cast<int>(rank));
  }
  return comparison;
}

std::string virtual_ranks_problem(int virtual_ranks, int ranks) {
  const bool fit = std::has_single_bit(static_cast<unsigned>(ranks)) && ranks <= virtual_ranks;
  if (virtual_ranks == 0 || fit) return "";
  return fmt::format(
      "--virtual-ranks {} with {} ranks cannot be trained: the ranks must be a power of two, and "
      "no "
      "more than the virtual ranks",
      virtual_ranks, ranks);
}

std::vector<Finding> find_problems(const Examination& examination) {
  if (examination.ranks.empty()) return examination.findings;
  Findings findings(examination);
  findings.found = examination.findings;
  compare_ranks(findings);
  check_disks(findings);
  check_exchange(findings);
  check_resources(findings);
  std::stable_partition(findings.found.begin(), findings.found.end(),
                        [](const Finding& f) { return f.level == Finding::Level::kFailure; });
  return std::move(findings.found);
}

ExitCode exit_code_of(const std::vector<Finding>& findings) {
  for (const Finding& finding : findings) {
    if (finding.level == Finding::Level::kFailure) return finding.code;
  }
  return ExitCode::kDone;
}

std::string verdict(const std::vector<Finding>& findings) {
  for (const Finding& finding : findings) {
    if (finding.level != Finding::Level::kFailure) continue;
    return fmt::format("verdict: FAILED (exit code {}): {}", static_cast<int>(finding.code),
                       finding.text.substr(0, finding.text.find('\n')));
  }
  if (findings.empty()) return "verdict: healthy";
  return fmt::format("verdict: healthy, {} warning{}", findings.size(),
                     findings.size() == 1 ? "" : "s");
}

}  // namespace lockstep
