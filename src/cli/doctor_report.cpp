// The screen.
#include "cli/doctor_report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <functional>
#include <map>
#include <set>

#include "lockstep/base/hash.h"
#include "lockstep/base/text.h"
#include "lockstep/comm/operation.h"

namespace lockstep {

namespace {

constexpr std::size_t kColumns = 100;
constexpr std::size_t kMostRows = 16;
constexpr std::size_t kMostLinkRanks = 8;

std::string milliseconds(double seconds) { return fmt::format("{:.1f} ms", 1e3 * seconds); }

std::string limit_text(std::uint64_t limit, bool bytes) {
  if (limit == ~std::uint64_t{0}) return "unlimited";
  return bytes ? format_bytes(limit) : format_count(static_cast<std::int64_t>(limit));
}

// 0: not known, as when the settings that decide it differ.
std::string count_text(int count) { return count > 0 ? std::to_string(count) : "-"; }

std::string rate_text(double bytes_per_second) {
  return bytes_per_second >= 1e8 ? fmt::format("{:.2f} GB/s", 1e-9 * bytes_per_second)
                                 : fmt::format("{:.2f} MB/s", 1e-6 * bytes_per_second);
}

struct Host {
  std::string name;
  std::vector<int> ranks;
  std::set<int> cores;
  int threads = 0;
};

std::vector<Host> hosts_of(const Examination& e) {
  std::vector<Host> hosts;
  for (const RankFacts& rank : e.ranks) {
    auto host = std::ranges::find(hosts, rank.host, &Host::name);
    if (host == hosts.end()) host = hosts.insert(hosts.end(), Host{rank.host, {}, {}, 0});
    host->ranks.push_back(rank.rank);
    host->cores.insert(rank.cores.begin(), rank.cores.end());
    host->threads += rank.threads;
  }
  return hosts;
}

// "node17" of "node17.cluster.example.org" where that fits better.
std::string cut(const std::string& text, std::size_t width) {
  if (text.size() <= width) return text;
  const std::string first = text.substr(0, text.find('.'));
  return first.size() <= width ? first : text.substr(0, width - 1) + "~";
}

std::string ranks_text(const std::vector<int>& ranks) {
  const std::string text = describe_ranks(ranks);
  return text.substr(text.find(' ') + 1);
}

// A line of what should be equal everywhere: the most frequent value, and whether all have it.
std::string common_line(const Examination& e, const std::string& name,
                        const std::function<std::string(const RankFacts&)>& key,
                        const std::function<std::string(const RankFacts&)>& shown) {
  std::vector<std::string> keys;
  for (const RankFacts& rank : e.ranks) keys.push_back(key(rank));
  const Agreement comparison = compare(keys);
  const RankFacts& common = e.ranks[static_cast<std::size_t>(comparison.majority.front())];
  const std::string others =
      comparison.equal ? "" : fmt::format(" | NOT on {}", describe_ranks(comparison.minority));
  return wrapped(fmt::format("{:<11} {}{}", name, shown(common), others), 12, kColumns);
}

std::string hash_text(const std::string& hash) {
  return hash.empty() ? "none" : "SHA-256 " + hash.substr(0, 12);
}

std::string identity_lines(const Examination& e) {
  const auto versions = [](const RankFacts& r) {
    std::vector<std::string> parts;
    for (const auto& [component, version] : r.versions) {
      const bool named = component == "kernel" || component == "MPI";
      parts.push_back(named ? version : fmt::format("{} {}", component, version));
    }
    return fmt::format("{}", fmt::join(parts, ", "));
  };
  std::string text = common_line(e, "versions", versions, versions);
  text += common_line(
      e, "program", [](const RankFacts& r) { return r.program_sha256; },
      [](const RankFacts& r) { return hash_text(r.program_sha256) + ", " + r.program; });
  text += common_line(
      e, "settings", [](const RankFacts& r) { return r.settings; },
      [](const RankFacts& r) { return hash_text(sha256_hex(r.settings)); });
  if (!e.ranks[0].data.empty() || e.ranks[0].data_code != 0) {
    text += common_line(
        e, "data", [](const RankFacts& r) { return r.data_sha256 + r.test_sha256; },
        [](const RankFacts& r) {
          return r.data_code != 0 ? "cannot be read"
                                  : fmt::format("{}, test data {}; {}", hash_text(r.data_sha256),
                                                hash_text(r.test_sha256), r.data);
        });
  }
  const auto limits = [](const RankFacts& r) {
    return fmt::format("locked memory {}, open files {}, core files {}",
                       limit_text(r.locked_memory_limit, true),
                       limit_text(r.open_files_limit, false), limit_text(r.core_file_limit, true));
  };
  text += common_line(e, "limits", limits, limits);
  if (e.out) {
    text += wrapped(
        fmt::format(
            "output      {}: {}", e.out->path,
            e.out->code != 0
                ? "cannot be written"
                : fmt::format("{} free, fsync {}{}", format_bytes(e.out->free_bytes),
                              milliseconds(e.out->fsync_seconds),
                              e.out->tested == e.out->path ? "" : " (in " + e.out->tested + ")")),
        12, kColumns);
  }
  return text;
}

std::string clock_text(const Examination& e, int rank) {
  if (e.clocks.empty()) return "";
  if (e.ranks[static_cast<std::size_t>(rank)].host == e.ranks[0].host) return "reference";
  const ClockReading& clock = e.clocks[static_cast<std::size_t>(rank)];
  if (std::abs(clock.offset) >= 1) return fmt::format("{:+.1f} s", clock.offset);
  return fmt::format("{:+.2f} +-{:.2f} ms", 1e3 * clock.offset, 1e3 * clock.uncertainty);
}

std::string host_table(const Examination& e) {
  constexpr auto kRow = "{:<13}{:>8}{:>7}{:>9}{:>12}{:>11}{:>12}{:>9}  {}\n";
  const std::vector<Host> hosts = hosts_of(e);
  std::string text = "\n";
  text += fmt::format(kRow, "host", "ranks", "cores", "threads", "memory free", "shm free",
                      "ledger free", "fsync", "clock");
  for (std::size_t i = 0; i < std::min(hosts.size(), kMostRows); ++i) {
    const Host& host = hosts[i];
    const RankFacts& first = e.ranks[static_cast<std::size_t>(host.ranks.front())];
    const bool written = first.ledger.code == 0;
    text += fmt::format(kRow, cut(host.name, 12), cut(ranks_text(host.ranks), 7), host.cores.size(),
                        count_text(host.threads), format_bytes(first.memory_free),
                        format_bytes(first.shared_memory_free),
                        written ? format_bytes(first.ledger.free_bytes) : "FAILED",
                        written ? milliseconds(first.ledger.fsync_seconds) : "-",
                        clock_text(e, host.ranks.front()));
  }
  if (hosts.size() > kMostRows) {
    text += fmt::format("... and {} more hosts (all in --json)\n", hosts.size() - kMostRows);
  }
  return text;
}

std::string rank_table(const Examination& e) {
  // Of many ranks the slowest are shown.
  std::vector<std::size_t> shown(e.ranks.size());
  for (std::size_t i = 0; i < shown.size(); ++i) shown[i] = i;
  const bool measured = e.computing.size() == e.ranks.size();
  if (shown.size() > kMostRows && measured) {
    std::ranges::stable_sort(shown, std::greater<>(),
                             [&](std::size_t i) { return e.computing[i].seconds; });
  }
  const std::size_t rows = std::min(shown.size(), kMostRows);
  std::string text = fmt::format("\n{:<5} {:<16} {:<14} {:>7}  {:<28}{:>9}{:>14}\n", "rank", "host",
                                 "bound to cores", "threads", "device", "GFLOP/s", "had its cores");
  for (std::size_t row = 0; row < rows; ++row) {
    const RankFacts& rank = e.ranks[shown[row]];
    std::string rate = "-", share = "-";
    if (measured) {
      rate = fmt::format("{:.1f}", e.computing[shown[row]].gflops);
      const double had = e.computing[shown[row]].cpu_share;
      if (had > 0) share = fmt::format("{:.0f} %", 100 * had);
    }
    text +=
        fmt::format("{:<5} {:<16} {:<14} {:>7}  {:<28}{:>9}{:>14}\n", rank.rank, cut(rank.host, 16),
                    cut(describe_cores(rank.cores), 14), count_text(rank.threads),
                    rank.device.empty() ? "-" : cut(rank.device, 28), rate, share);
  }
  if (shown.size() > rows) {
    text += fmt::format("... the {} slowest of {} ranks (all in --json)\n", rows, shown.size());
  }
  return text;
}

std::int64_t sum(const std::vector<std::int64_t>& values) {
  std::int64_t sum = 0;
  for (const std::int64_t value : values) sum += value;
  return sum;
}

std::string all_reduce_table(const Examination& e) {
  std::string text = fmt::format("\nall_reduce {:>13}{:>13}{:>14}{:>16}{:>16}{:>12}\n", "size",
                                 "count", "time (us)", "algbw (GB/s)", "busbw (GB/s)", "#wrong");
  for (const AllReduceTime& row : e.all_reduces) {
    text += fmt::format("{:<11}{:>13}{:>13}{:>14.1f}{:>16.3f}{:>16.3f}{:>12}\n", "float sum",
                        format_bytes(static_cast<std::uint64_t>(row.bytes)), row.bytes / 4,
                        1e6 * row.seconds, 1e-9 * row.algorithm_bandwidth(),
                        1e-9 * row.bus_bandwidth(e.ranks.size()), sum(row.wrong));
  }
  return text;
}

std::string link_summary(const Examination& e) {
  const auto slowest = std::ranges::max_element(e.links, {}, &LinkTime::latency);
  const auto narrowest = std::ranges::min_element(e.links, {}, &LinkTime::bytes_per_second);
  return fmt::format(
      "\nlinks       {} pairs: slowest {:.0f} us (ranks {} and {}), narrowest {} (ranks {} and "
      "{})\n",
      e.links.size(), 1e6 * slowest->latency, slowest->first, slowest->second,
      rate_text(narrowest->bytes_per_second), narrowest->first, narrowest->second);
}

std::string link_table(const Examination& e) {
  const std::size_t ranks = e.ranks.size();
  if (ranks > kMostLinkRanks) return link_summary(e);
  std::string text = fmt::format("\n{:<11}", "links");
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    text += fmt::format("{:>11}", fmt::format("rank {}", rank));
  }
  text += "\n";
  std::vector<std::vector<std::string>> cells(ranks, std::vector<std::string>(ranks, "-"));
  for (const LinkTime& link : e.links) {
    const auto first = static_cast<std::size_t>(link.first);
    const auto second = static_cast<std::size_t>(link.second);
    cells[first][second] = rate_text(link.bytes_per_second);
    cells[second][first] = fmt::format("{:.1f} us", 1e6 * link.latency);
  }
  for (std::size_t row = 0; row < ranks; ++row) {
    text += fmt::format("{:<11}", fmt::format("rank {}", row));
    for (const std::string& cell : cells[row]) text += fmt::format("{:>11}", cell);
    text += "\n";
  }
  return text;
}

}  // namespace

std::string report_text(const Examination& e) {
  const std::vector<Finding> findings = find_problems(e);
  std::string text = fmt::format("lockstep doctor, {}", e.started);
  if (!e.ranks.empty()) {
    const std::size_t hosts = hosts_of(e).size();
    text += fmt::format(": {} rank{} on {} host{}{}{}\n", e.ranks.size(),
                        e.ranks.size() == 1 ? "" : "s", hosts, hosts == 1 ? "" : "s",
                        e.backend.empty() ? "" : ", backend " + e.backend,
                        e.shared_memory ? ", sums in shared memory" : "");
  } else {
    text += "\n";
  }
  for (const std::string& note : e.notes) text += wrapped(note, 2, kColumns);
  if (!e.ranks.empty()) {
    text += '\n';
    text += identity_lines(e) + host_table(e) + rank_table(e);
  }
  if (!e.all_reduces.empty()) text += all_reduce_table(e);
  if (!e.links.empty()) text += link_table(e);
  text += "\n";
  for (const Finding& finding : findings) {
    text += wrapped(
        (finding.level == Finding::Level::kFailure ? "FAILURE: " : "warning: ") + finding.text, 2,
        kColumns);
  }
  return text + verdict(findings) + "\n";
}

}  // namespace lockstep
