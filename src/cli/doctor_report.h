// What lockstep doctor found out about a job, what it concludes, and how it says so.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cli/doctor_facts.h"
#include "lockstep/base/error.h"

namespace lockstep {

/// A reading of one rank's clock by the root.
struct ClockReading {
  double offset = 0;       ///< seconds that the rank's clock is ahead of the root's
  double uncertainty = 0;  ///< the offset is right within so many seconds
};

/// A fixed piece of computation, on all ranks at once.
struct ComputeTime {
  double seconds = 0;    ///< median
  double gflops = 0;     ///< 1e9 floating-point operations a second
  double cpu_share = 1;  ///< of its threads' time, how much the rank had a core; 0 on GPUs
};

/// All-reduce of one size, sum of float32.
struct AllReduceTime {
  std::int64_t bytes = 0;
  double seconds = 0;               ///< median, of the slowest rank
  std::vector<std::int64_t> wrong;  ///< elements that were not the known sum, one number a rank

  /// Bytes a second.
  double algorithm_bandwidth() const { return static_cast<double>(bytes) / seconds; }
  /// What crosses each rank's link, for comparison with the network's rate: NCCL tests' definition.
  double bus_bandwidth(std::size_t ranks) const {
    return algorithm_bandwidth() * 2.0 * static_cast<double>(ranks - 1) /
           static_cast<double>(ranks);
  }
};

/// Messages both ways at once between two ranks.
struct LinkTime {
  int first = 0, second = 0;          ///< ranks, first < second
  double latency = 0;                 ///< seconds of 8 bytes each way, median
  double bytes_per_second = 0;        ///< each way, of a large message, median
  std::int64_t wrong_from_first = 0;  ///< bytes that did not arrive as they were sent
  std::int64_t wrong_from_second = 0;
};

struct Finding {
  enum class Level { kWarning, kFailure };
  Level level = Level::kWarning;
  ExitCode code = ExitCode::kDone;  ///< of a failure
  std::string text;                 ///< names rank and host where there are any
};

/// All that was measured, on the root. What was not reached is empty.
struct Examination {
  std::string started;  ///< UTC
  std::string backend;
  bool shared_memory = false;  ///< whether sums were taken in memory that the ranks share
  std::vector<RankFacts> ranks;
  std::optional<DiskProbe> out;
  std::vector<ClockReading> clocks;    ///< one a rank
  std::vector<ComputeTime> computing;  ///< one a rank
  std::vector<AllReduceTime> all_reduces;
  std::vector<LinkTime> links;
  std::vector<std::string> notes;  ///< what a reader should know and is no finding
  std::vector<Finding> findings;
};

/// What `examination` shows to be wrong or doubtful: failures first, in the order of the checks.
/// A rank is slow when it takes more than kSlowFactor times the median.
std::vector<Finding> find_problems(const Examination& examination);
inline constexpr double kSlowFactor = 2.5;

/// Why --virtual-ranks cannot be trained with on so many ranks; empty: they can, or are 0.
std::string virtual_ranks_problem(int virtual_ranks, int ranks);

/// Ranks whose values differ, in the order of the ranks' numbers: the ranks of the most frequent
/// value, and all others; no majority when two values are the most frequent.
struct Agreement {
  bool equal = true;
  bool has_majority = true;
  std::vector<int> majority;
  std::vector<int> minority;
};
Agreement compare(const std::vector<std::string>& values);

/// Of the first failure, else kDone.
ExitCode exit_code_of(const std::vector<Finding>& findings);
/// "verdict: healthy", "verdict: healthy, 1 warning", "verdict: FAILED (exit code 76): ...".
std::string verdict(const std::vector<Finding>& findings);

/// One screen of 100 columns; the last line is the verdict, however long.
std::string report_text(const Examination& examination);
/// One JSON object, with everything, and a line break.
std::string report_json(const Examination& examination);

}  // namespace lockstep
