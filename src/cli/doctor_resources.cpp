// Disks, cores, memory, limits and clocks.
#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "cli/doctor_findings.h"
#include "lockstep/base/text.h"
#include "lockstep/comm/operation.h"

namespace lockstep {

namespace {

constexpr double kMostClockOffset = 0.1;
constexpr double kSlowSync = 0.5;
constexpr std::uint64_t kLittleSpace = std::uint64_t{1} << 30;
constexpr std::uint64_t kLittleSharedMemory = std::uint64_t{64} << 20;
constexpr std::uint64_t kFewFiles = 1024;

void check_disk(Findings& f, const DiskProbe& probe, const std::string& what) {
  if (probe.code != 0) {
    f.fault(static_cast<ExitCode>(probe.code), "{}: {}", what, probe.problem);
    return;
  }
  if (probe.fsync_seconds > kSlowSync) {
    f.warn("{}: {}: an fsync takes {}", what, probe.tested, format_duration(probe.fsync_seconds));
  }
}

void check_quotas(Findings& f, const std::string& host, const std::vector<int>& ranks) {
  std::map<std::string, std::vector<int>> by_group;
  for (const int rank : ranks) by_group[f.facts(rank).cgroup].push_back(rank);
  for (const auto& [group, members] : by_group) {
    int threads = 0;
    for (const int rank : members) threads += f.facts(rank).threads;
    const double quota = f.facts(members.front()).cgroup_cores;
    if (quota <= 0 || threads <= quota + 0.01) continue;
    f.oversubscribed_hosts.insert(host);
    f.warn(
        "oversubscribed: {} compute threads of {} on {}, whose control group {} allows {:.2g} "
        "cores",
        threads, describe_ranks(members), host, group, quota);
  }
}

// More threads than cores, among the ranks that may run on no other cores than these.
void check_cores(Findings& f) {
  std::map<std::string, std::vector<int>> by_host;
  for (const RankFacts& rank : f.e.ranks) by_host[rank.host].push_back(rank.rank);
  for (const auto& [host, ranks] : by_host) {
    std::set<std::vector<int>> sets;
    std::set<int> all;
    for (const int rank : ranks) {
      sets.insert(f.facts(rank).cores);
      all.insert(f.facts(rank).cores.begin(), f.facts(rank).cores.end());
    }
    sets.insert({all.begin(), all.end()});
    for (const std::vector<int>& cores : sets) {
      std::vector<int> inside;
      int threads = 0;
      for (const int rank : ranks) {
        if (!std::ranges::includes(cores, f.facts(rank).cores)) continue;
        inside.push_back(rank);
        threads += f.facts(rank).threads;
      }
      if (threads <= static_cast<int>(cores.size())) continue;
      f.oversubscribed_hosts.insert(host);
      f.warn("oversubscribed: {} compute threads of {} share core{} {} of {}", threads,
             describe_ranks(inside), cores.size() == 1 ? "" : "s", describe_cores(cores), host);
    }
    check_quotas(f, host, ranks);
  }
}

// Their own threads do not explain it: something else runs on their cores.
void check_shares(Findings& f) {
  std::vector<int> ranks;
  std::vector<double> shares;
  for (std::size_t i = 0; i < f.e.computing.size(); ++i) {
    const int rank = static_cast<int>(i);
    const double share = f.e.computing[i].cpu_share;
    if (share <= 0 || share >= kLeastShare || f.slow.contains(rank) ||
        f.oversubscribed_hosts.contains(f.facts(rank).host)) {
      continue;
    }
    ranks.push_back(rank);
    shares.push_back(100 * share);
  }
  if (ranks.empty()) return;
  f.warn("{} had {} cores for {} % of the time: something else runs on them", f.name(ranks),
         ranks.size() == 1 ? "its" : "their", from_to(shares, 0));
}

void check_hosts(Findings& f) {
  for (const int rank : f.first_of_hosts()) {
    const RankFacts& facts = f.facts(rank);
    if (facts.shared_memory_free < kLittleSharedMemory) {
      f.warn("{}: only {} free in /dev/shm, which ranks of one host exchange messages through",
             facts.host, format_bytes(facts.shared_memory_free));
    }
    if (facts.memory_free < kLittleSpace) {
      f.warn("{}: only {} of memory free", facts.host, format_bytes(facts.memory_free));
    }
    if (facts.open_files_limit < kFewFiles) {
      f.warn("{}: a process may open only {} files (ulimit -n)", facts.host,
             facts.open_files_limit);
    }
  }
}

void check_clocks(Findings& f) {
  if (f.e.clocks.empty()) return;
  for (const int rank : f.first_of_hosts()) {
    const ClockReading& clock = f.e.clocks[static_cast<std::size_t>(rank)];
    if (std::abs(clock.offset) - clock.uncertainty <= kMostClockOffset) continue;
    f.warn("the clock of {} is {} {} that of rank 0 ({}): times in logs and ledgers do not compare",
           f.facts(rank).host, format_duration(std::abs(clock.offset)),
           clock.offset > 0 ? "ahead of" : "behind", f.facts(0).host);
  }
}

}  // namespace

void check_disks(Findings& f) {
  if (f.e.out) {
    check_disk(f, *f.e.out, "--out on " + f.name(0));
    if (f.e.out->code == 0 && f.e.out->free_bytes < kLittleSpace) {
      f.warn("--out on {}: {}: only {} free", f.name(0), f.e.out->tested,
             format_bytes(f.e.out->free_bytes));
    }
  }
  // Every rank has tried its own; a host's ranks share what they find.
  std::map<std::pair<int, std::string>, std::vector<int>> failed;
  for (const RankFacts& rank : f.e.ranks) {
    if (rank.ledger.code != 0) {
      failed[{rank.ledger.code, rank.ledger.problem}].push_back(rank.rank);
    }
  }
  for (const auto& [why, ranks] : failed) {
    f.fault(static_cast<ExitCode>(why.first), "ledgers on {}: {}", f.name(ranks), why.second);
  }
  for (const int rank : f.first_of_hosts()) {
    if (f.facts(rank).ledger.code != 0) continue;
    check_disk(f, f.facts(rank).ledger, "ledgers on " + f.name(rank));
  }
}

void check_resources(Findings& findings) {
  check_cores(findings);
  check_shares(findings);
  check_hosts(findings);
  check_clocks(findings);
}

}  // namespace lockstep
