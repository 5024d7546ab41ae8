// The runs of a proof: made by the ranks of one job, each run by the first ones of them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

#include "prove_report.h"
#include "session.h"

namespace lockstep {

struct ProofPlan {
  bool resume = false;  ///< else: ranks
  /// resume: of the uninterrupted run, and of the resumed part; ranks: of each run.
  std::vector<int> ranks;
  std::int64_t steps = 20;              ///< of each run
  std::optional<std::int64_t> stop_at;  ///< none: amid what follows the first epoch
  bool json = false;
  std::filesystem::path keep;  ///< empty: the runs are removed

  int most_ranks() const { return std::ranges::max(ranks); }
};

/// Makes the runs with the session's settings and data, and compares them; the comparison is the
/// root's. What a run does when it diverges is a part of the proof, which ends there if it is the
/// first one. Collective; throws AgreedError when a run ends in any other way, when the first one
/// ends before its last step, or when there is no space for all checkpoints.
Proof make_proof(Session& session, const ProofPlan& plan);

}  // namespace lockstep
