// The findings while they are made, for the files that make them.
#pragma once

#include <fmt/format.h>

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "cli/doctor_report.h"

namespace lockstep {

/// A rank that had its cores for less of the time shares them with something.
inline constexpr double kLeastShare = 0.7;

/// Looks at an examination (not owned) and collects what is found.
class Findings {
 public:
  explicit Findings(const Examination& examination) : e(examination) {}

  template <typename... Args>
  void warn(fmt::format_string<Args...> format, Args&&... args) {
    found.push_back({Finding::Level::kWarning, ExitCode::kDone,
                     fmt::format(format, std::forward<Args>(args)...)});
  }
  template <typename... Args>
  void fault(ExitCode code, fmt::format_string<Args...> format, Args&&... args) {
    found.push_back(
        {Finding::Level::kFailure, code, fmt::format(format, std::forward<Args>(args)...)});
  }

  const RankFacts& facts(int rank) const { return e.ranks[static_cast<std::size_t>(rank)]; }
  /// "rank 3 (node2)".
  std::string name(int rank) const;
  /// "ranks 2, 3 (node1, node2)".
  std::string name(const std::vector<int>& ranks) const;
  /// The lowest rank of every host.
  std::vector<int> first_of_hosts() const;

  const Examination& e;
  std::vector<Finding> found;
  std::set<int> slow;                          ///< ranks said to be slow
  std::set<std::string> oversubscribed_hosts;  ///< said to have too few cores for their threads
};

/// "2.5", or "2.5 to 4.0", with so many digits after the point. Not of none.
std::string from_to(const std::vector<double>& values, int digits);

// Each adds what it finds, in the order of its checks; check_resources after check_exchange, whose
// slow ranks it says nothing more of.
void compare_ranks(Findings& findings);    ///< binary, versions, settings, data
void check_disks(Findings& findings);      ///< --out and the ledgers' directories
void check_exchange(Findings& findings);   ///< wrong or slow: all-reduce, links, computing
void check_resources(Findings& findings);  ///< cores, quotas, memory, limits, clocks

}  // namespace lockstep
