// What lockstep prove has found out, and how it says so.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "lockstep/cli/settings.h"
#include "prove_compare.h"

namespace lockstep {

/// One of the runs that are compared; the first is what the others are compared with.
struct ProofRun {
  std::string name;  ///< "A"
  std::string what;  ///< "uninterrupted"
  /// Of each of its parts.
  std::vector<int> ranks;
  std::filesystem::path directory;
  double seconds = 0;
  /// The message it ended with because it diverged; empty: it came to its end. Of the first run:
  /// there is nothing to compare with, and no further run.
  std::string failure;
  std::int64_t last_step = 0;
  std::string numerics;                       ///< what its last checkpoint was computed with
  std::map<std::string, std::string> sha256;  ///< of the last checkpoint's files of tensors
  Comparison comparison;                      ///< with the first run
};

struct Proof {
  bool resume = false;  ///< else: ranks
  std::int64_t steps = 0;
  std::int64_t epoch_steps = 0;
  std::int64_t stop_at = 0;  ///< resume only
  Settings settings;
  std::vector<ProofRun> runs;

  bool holds() const;
};

/// Reads the last checkpoint's facts into `run`. Throws Error{kBadData | kInputMissing}.
void read_facts(ProofRun& run);

/// Why a run may differ from the first one, a sentence each, the surest first: from the settings,
/// from what the runs were computed with, and from where they differ.
std::vector<std::string> likely_reasons(const Proof& proof, const ProofRun& run);

/// For people; at most 80 columns where words fit.
std::string proof_table(const Proof& proof);
/// One JSON object.
std::string proof_json(const Proof& proof);

}  // namespace lockstep
