// Wrong or slow: sums over all ranks, messages between two, computing on each.
#include <algorithm>
#include <map>
#include <tuple>

#include "cli/doctor_findings.h"
#include "lockstep/base/text.h"

namespace lockstep {

namespace {

// Differences below these are noise, whatever their ratio.
constexpr double kLeastLatencyExcess = 200e-6;
constexpr double kLeastComputeExcess = 2e-3;

// The lower of the two middle values: half of the ranks may be slow and still stand out.
double lower_median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>((values.size() - 1) / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

void check_all_reduce(Findings& f) {
  std::map<int, std::int64_t> wrong;
  std::int64_t bytes = 0;
  for (const AllReduceTime& row : f.e.all_reduces) {
    for (std::size_t rank = 0; rank < row.wrong.size(); ++rank) {
      if (row.wrong[rank] == 0) continue;
      wrong[static_cast<int>(rank)] += row.wrong[rank];
      if (bytes == 0) bytes = row.bytes;
    }
  }
  if (wrong.empty()) return;
  std::vector<int> ranks;
  std::int64_t elements = 0;
  for (const auto& [rank, count] : wrong) {
    ranks.push_back(rank);
    elements += count;
  }
  f.fault(ExitCode::kDiverged,
          "all_reduce gives wrong sums on {}: {} elements, first at messages of {}", f.name(ranks),
          format_count(elements), format_bytes(static_cast<std::uint64_t>(bytes)));
}

bool same_host(const Findings& f, const LinkTime& link) {
  return f.facts(link.first).host == f.facts(link.second).host;
}

void check_slow_links(Findings& f, const std::vector<const LinkTime*>& links) {
  std::vector<double> latencies, times;
  for (const LinkTime* link : links) {
    latencies.push_back(link->latency);
    times.push_back(1 / link->bytes_per_second);
  }
  const double latency = lower_median(latencies);
  const double time = lower_median(times);
  std::vector<const LinkTime*> slow;
  std::map<int, int> slow_of_rank, all_of_rank;
  for (const LinkTime* link : links) {
    const bool late =
        link->latency > kSlowFactor * latency && link->latency - latency > kLeastLatencyExcess;
    const bool narrow = 1 / link->bytes_per_second > kSlowFactor * time;
    for (const int rank : {link->first, link->second}) {
      ++all_of_rank[rank];
      slow_of_rank[rank] += late || narrow ? 1 : 0;
    }
    if (late || narrow) slow.push_back(link);
  }
  if (slow.empty()) return;
  const auto all_slow = [&](int rank) {
    return all_of_rank[rank] > 1 && slow_of_rank[rank] == all_of_rank[rank];
  };
  std::vector<int> ranks;
  for (const auto& [rank, count] : all_of_rank) {
    if (all_slow(rank)) ranks.push_back(rank);
  }
  if (!ranks.empty()) {
    f.warn("slow connections of {} to every other rank", f.name(ranks));
  }
  int named = 0;
  for (const LinkTime* link : slow) {
    if (all_slow(link->first) || all_slow(link->second)) continue;
    if (++named > 3) continue;
    f.warn("slow connection of {} and {}: {:.0f} us, {:.3g} GB/s (median {:.0f} us, {:.3g} GB/s)",
           f.name(link->first), f.name(link->second), 1e6 * link->latency,
           1e-9 * link->bytes_per_second, 1e6 * latency, 1e-9 / time);
  }
  if (named > 3) f.warn("{} more slow connections", named - 3);
}

void check_links(Findings& f) {
  for (const LinkTime& link : f.e.links) {
    for (const auto& [from, to, wrong] :
         {std::tuple(link.first, link.second, link.wrong_from_first),
          std::tuple(link.second, link.first, link.wrong_from_second)}) {
      if (wrong == 0) continue;
      f.fault(ExitCode::kDiverged, "messages from {} reach {} damaged: {} bytes", f.name(from),
              f.name(to), format_count(wrong));
    }
  }
  for (const bool local : {true, false}) {
    std::vector<const LinkTime*> links;
    for (const LinkTime& link : f.e.links) {
      if (same_host(f, link) == local) links.push_back(&link);
    }
    if (links.size() >= 3) check_slow_links(f, links);
  }
}

void check_computing(Findings& f) {
  if (f.e.computing.size() < 2) return;
  std::vector<double> seconds;
  for (const ComputeTime& time : f.e.computing) seconds.push_back(time.seconds);
  const double median = lower_median(seconds);
  std::vector<int> slow;
  std::vector<double> factors, shares;
  for (std::size_t rank = 0; rank < seconds.size(); ++rank) {
    if (seconds[rank] <= kSlowFactor * median || seconds[rank] - median < kLeastComputeExcess) {
      continue;
    }
    slow.push_back(static_cast<int>(rank));
    factors.push_back(seconds[rank] / median);
    const double share = f.e.computing[rank].cpu_share;
    if (share > 0 && share < kLeastShare) shares.push_back(100 * share);
  }
  if (slow.empty()) return;
  f.slow.insert(slow.begin(), slow.end());
  const bool one = slow.size() == 1;
  f.warn("{} {} slow: {} {} times longer than the median rank{}", f.name(slow), one ? "is" : "are",
         one ? "it computes" : "they compute", from_to(factors, 1),
         shares.size() == slow.size() ? fmt::format(" and had {} cores for {} % of the time",
                                                    one ? "its" : "their", from_to(shares, 0))
                                      : "");
}

}  // namespace

void check_exchange(Findings& findings) {
  check_all_reduce(findings);
  check_links(findings);
  check_computing(findings);
}

}  // namespace lockstep
