// From the ledgers of a job to what happened to it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "lockstep/comm/ledger.h"

namespace lockstep {

/// Where a rank is, or was when its ledger ends.
struct LedgerPosition {
  std::optional<Phase> phase;        ///< nothing in an empty ledger
  std::optional<std::int64_t> step;  ///< the newest global step it names
  /// "all_reduce 'gradients' bucket 2 of step 412": the oldest operation it waits in, else the last
  /// one it issued, of the world it is in; empty when there is none.
  std::string operation;
  bool waiting = false;  ///< in `operation`, not after it
};
LedgerPosition position_of(const LedgerReading& reading);

/// One sentence: which ranks the job waited for or died of, where they were, and who waited for
/// them, as far as the readings (of one job) tell: "rank 3 (node2) died without a word (...) in
/// all_reduce 'gradients' bucket 2 of step 412; ranks 0-2 waited for it". `now_ns` counts since
/// 1970.
std::string conclude(const std::vector<LedgerReading>& readings, std::int64_t now_ns);

/// The ledgers of one job, from all directories they were found in.
struct LedgeredJob {
  std::uint64_t job = 0;
  std::vector<LedgerReading> readings;  ///< at least one; by rank, one a rank
  std::int64_t newest_ns() const;       ///< time of the newest entry, since 1970
};

/// All jobs with ledgers in `directory` or in directories up to two levels below it (a job's own
/// directory, one that holds several, or copies from several hosts), newest first. What looks like
/// a ledger by its name and is none is described in `problems`. Links are not followed. Throws
/// Error{kInputMissing} when the directory cannot be read.
std::vector<LedgeredJob> find_jobs(const std::filesystem::path& directory,
                                   std::vector<std::string>& problems);

}  // namespace lockstep
