// lockstep bench allreduce: sums over ranks by message size, as NCCL's and OSU's tests show them.
#include <algorithm>
#include <charconv>
#include <limits>
#include <numeric>
#include <system_error>

#include "bench.h"
#include "job_options.h"
#include "lockstep/base/text.h"
#include "lockstep/comm/decorators.h"
#include "lockstep/comm/together.h"
#include "timed_sums.h"

namespace lockstep {

namespace {

using Json = nlohmann::ordered_json;

constexpr std::int64_t kElement = 4;             // float32
constexpr std::int64_t kMostBytes = 1ll << 34;   // 16 GiB
constexpr std::int64_t kLatencyBytes = 8 << 10;  // the largest message whose latency is of interest
constexpr Repeats kDefaultRepeats{.least = 5, .most = 1000, .seconds = 0.25};

struct Plan {
  std::vector<std::int64_t> sizes;
  Repeats repeats = kDefaultRepeats;
  bool json = false;
};

// One size; on every rank the same.
struct Row {
  std::int64_t bytes = 0;
  int repeats = 0;
  std::vector<double> medians;  // seconds, one a rank
  std::vector<double> means;
  std::vector<std::int64_t> wrong;

  double typical() const { return median(medians); }
  double worst() const { return std::ranges::max(medians); }
  std::int64_t all_wrong() const {
    return std::accumulate(wrong.begin(), wrong.end(), std::int64_t{0});
  }
  double algorithm_bandwidth() const { return static_cast<double>(bytes) / worst(); }
  double bus_bandwidth() const {
    const auto ranks = static_cast<double>(medians.size());
    return algorithm_bandwidth() * 2 * (ranks - 1) / ranks;
  }
  double mean() const {
    return std::accumulate(means.begin(), means.end(), 0.0) / static_cast<double>(means.size());
  }
};

// "8", "4K", "64M", "1G".
std::int64_t to_bytes(const std::string& text, const std::string& name) {
  std::int64_t value = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  constexpr std::string_view kUnits = "KMG";
  std::int64_t unit = 1;
  bool good = error == std::errc() && value > 0 && end - rest <= 1;
  if (good && rest != end) {
    const std::size_t power = kUnits.find(*rest);
    good = power != std::string_view::npos;
    if (good) unit = std::int64_t{1} << (10 * (power + 1));
  }
  if (!good || value > kMostBytes / unit || value * unit % kElement != 0) {
    fail(ExitCode::kUsage,
         "--{} {}: expected bytes in whole float32 numbers (a multiple of 4) up to 16G, e.g. 8, 4K "
         "or 64M",
         name, text);
  }
  return value * unit;
}

Plan make_plan(const ParsedSettings& parsed) {
  const auto bytes = [&](const char* name, std::int64_t fallback) {
    const auto given = parsed.options.find(name);
    return given == parsed.options.end() ? fallback : to_bytes(given->second, name);
  };
  Plan plan;
  const std::int64_t most =
      bytes("max-bytes", std::max<std::int64_t>(bytes("min-bytes", 8), 64 << 20));
  const std::int64_t least = bytes("min-bytes", std::min<std::int64_t>(8, most));
  if (least > most) {
    fail(ExitCode::kUsage, "--min-bytes {} is more than --max-bytes {}", least, most);
  }
  const int factor = option_or(parsed, "factor", 2, 2, 1 << 20);
  for (std::int64_t size = least; size <= most; size *= factor) plan.sizes.push_back(size);
  if (parsed.options.contains("rounds")) {
    const int rounds = option_or(parsed, "rounds", 0, 1, 1'000'000);
    plan.repeats = {.least = rounds, .most = rounds, .seconds = 0};
  }
  plan.json = parsed.options.contains("json");
  return plan;
}

Row measure(World& world, Collectives& collectives, const ComputeDevice& device, std::int64_t bytes,
            const Repeats& repeats, std::byte* memory) {
  const TimedSums sums = time_sums(world, collectives, device, bytes, repeats, "bench", memory);
  const double all = std::accumulate(sums.seconds.begin(), sums.seconds.end(), 0.0);
  const auto count = static_cast<double>(sums.seconds.size());
  return {.bytes = bytes,
          .repeats = static_cast<int>(sums.seconds.size()),
          .medians = world.all_gather_value(median(sums.seconds)),
          .means = world.all_gather_value(all / count),
          .wrong = world.all_gather_value(sums.wrong)};
}

std::string table(const std::vector<Row>& rows, const Collectives& collectives, bool shared,
                  int ranks, const std::string& where) {
  std::string text = fmt::format(
      "all-reduce of float32 (sum, in place) by the {} backend{}, {} rank{} on {}\n{}\n\n"
      "      size     count  repeats   time us    time us    algbw    busbw  #wrong\n"
      "     bytes  elements             median  worst rank     GB/s     GB/s\n",
      collectives.backend(), shared ? " in memory that the ranks share" : "", ranks,
      ranks == 1 ? "" : "s", where, version_text());
  for (const Row& row : rows) {
    text +=
        fmt::format("{:>10} {:>9} {:>8} {:>9.2f} {:>11.2f} {:>8.3f} {:>8.3f} {:>7}\n", row.bytes,
                    row.bytes / kElement, row.repeats, 1e6 * row.typical(), 1e6 * row.worst(),
                    1e-9 * row.algorithm_bandwidth(), 1e-9 * row.bus_bandwidth(), row.all_wrong());
  }
  text +=
      "\nTime is from the call to the result, one operation at a time, all ranks beginning "
      "together: the median\nover the repetitions, of the median rank and of the slowest one. "
      "algbw = size / time of the slowest rank;\nbusbw = algbw * 2(n-1)/n for n ranks, as in "
      "nccl-tests. #wrong counts elements, on all ranks and in all\nrepetitions, that are not the "
      "exact sum.\n";
  if (rows.front().bytes > kLatencyBytes) return text;
  text +=
      "\nlatency, as in OSU's tests: the mean over the repetitions, of the fastest rank, of all, "
      "of the slowest\n\n"
      "     bytes    min us    avg us    max us\n";
  for (const Row& row : rows) {
    if (row.bytes > kLatencyBytes) break;
    text += fmt::format("{:>10} {:>9.2f} {:>9.2f} {:>9.2f}\n", row.bytes,
                        1e6 * std::ranges::min(row.means), 1e6 * row.mean(),
                        1e6 * std::ranges::max(row.means));
  }
  return text;
}

Json to_json(const std::vector<Row>& rows, const Collectives& collectives, bool shared,
             const Settings& settings, const std::vector<std::string>& hosts) {
  Json record = benchmark_record("allreduce", settings);
  record["backend"] = collectives.backend();
  record["shared_memory"] = shared;
  record["ranks"] = hosts.size();
  record["hosts"] = hosts;
  record["type"] = "float32";
  record["operation"] = "sum";
  Json& results = record["results"] = Json::array();
  for (const Row& row : rows) {
    results.push_back({{"bytes", row.bytes},
                       {"count", row.bytes / kElement},
                       {"repeats", row.repeats},
                       {"median_us", 1e6 * row.typical()},
                       {"worst_rank_us", 1e6 * row.worst()},
                       {"algorithm_gb_per_second", 1e-9 * row.algorithm_bandwidth()},
                       {"bus_gb_per_second", 1e-9 * row.bus_bandwidth()},
                       {"wrong", row.all_wrong()},
                       {"wrong_by_rank", row.wrong},
                       {"latency_us",
                        {{"min", 1e6 * std::ranges::min(row.means)},
                         {"avg", 1e6 * row.mean()},
                         {"max", 1e6 * std::ranges::max(row.means)}}}});
  }
  return record;
}

// "host", or "3 hosts".
std::string place(std::vector<std::string> hosts) {
  std::ranges::sort(hosts);
  hosts.erase(std::unique(hosts.begin(), hosts.end()), hosts.end());
  return hosts.size() == 1 ? hosts[0] : fmt::format("{} hosts", hosts.size());
}

void require_right(World& world, const std::vector<Row>& rows) {
  std::vector<int> ranks;
  std::int64_t wrong = 0;
  for (int rank = 0; rank < world.size(); ++rank) {
    std::int64_t own = 0;
    for (const Row& row : rows) own += row.wrong[static_cast<std::size_t>(rank)];
    if (own > 0) ranks.push_back(rank);
    wrong += own;
  }
  if (wrong == 0) return;
  fail_together(world, ExitCode::kDiverged,
                fmt::format("all_reduce gave {} wrong elements on {}", format_count(wrong),
                            world.name_ranks(ranks)));
}

ExitCode measure_all(Session& session) {
  World& world = session.world();
  const ComputeDevice& device = session.device();
  Plan plan;
  together(world, [&] { plan = make_plan(session.parsed()); });
  std::unique_ptr<Collectives> collectives =
      make_collectives(world, session.settings().comm, device.is_cuda(), device.stream);
  if (!session.faults().empty()) {
    collectives = make_faulty(std::move(collectives), session.faults(), world.rank());
  }
  world.enter_phase(Phase::kEvaluation);
  // Where training has its gradients.
  const std::shared_ptr<std::byte> memory =
      collectives->allocate(static_cast<std::size_t>(plan.sizes.back()));
  std::vector<Row> rows;
  for (const std::int64_t bytes : plan.sizes) {
    rows.push_back(measure(world, *collectives, device, bytes, plan.repeats, memory.get()));
  }
  const std::vector<std::string> hosts = world.gather_text(world.host());
  together(world, [&] {
    if (!world.is_root()) return;
    const bool shared = memory != nullptr;
    print_or_fail(
        plan.json ? to_json(rows, *collectives, shared, session.settings(), hosts).dump(2) + "\n"
                  : table(rows, *collectives, shared, world.size(), place(hosts)));
  });
  require_right(world, rows);
  return ExitCode::kDone;
}

ExitCode run(const Command& command, std::span<const std::string> arguments) {
  return run_together(command, "allreduce", arguments, rank_places, measure_all);
}

}  // namespace

Benchmark all_reduce_benchmark() {
  return {.name = "allreduce",
          .summary = "sums over the ranks by message size: time, bandwidth, wrong results",
          .options = {"ranks", "rounds", "min-bytes", "max-bytes", "factor", "json"},
          .settings = {"backend", "collective-timeout", "device", "inject-fault", "ledger-dir",
                       "log-level", "shared-memory", "threads"},
          .run = run};
}

}  // namespace lockstep
