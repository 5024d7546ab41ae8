// lockstep inspect of a run directory: its history, and the checkpoints it left.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "lockstep/base/error.h"
#include "lockstep/report/history.h"
#include "lockstep/train/training_state.h"

namespace lockstep {

struct RunCheckpoint {
  std::string name;  ///< of its directory
  std::int64_t global_step = 0;
  std::int64_t epoch = 0;  ///< complete ones
  StopReason stop_reason = StopReason::kNone;
  bool best = false;    ///< the one that evaluate and predict take
  bool newest = false;  ///< of those that are whole
  /// Why it cannot be used; the members above but for name and global_step are empty then.
  std::string problem{};
  ExitCode code = ExitCode::kDone;
};

struct RunFacts {
  report::History history;
  std::vector<RunCheckpoint> checkpoints;  ///< by step
  /// Directories that a resume or a repair renamed, and nothing reads.
  std::vector<std::string> set_aside;
  /// The newest one that is whole; null: none is.
  const RunCheckpoint* newest() const;
  /// The last global step that is known to be complete. Records are not of every step: it may be
  /// that of a checkpoint.
  std::int64_t last_step() const;
  /// How the run ended, or that it goes on.
  std::string end_text() const;
  /// kDone, or what the first checkpoint that is damaged deserves.
  ExitCode code() const;
};

/// Whether a directory has files that only runs have.
bool looks_like_run(const std::filesystem::path& directory);

/// Reads all records and verifies all checkpoints, of which damage is part of the facts. Throws
/// Error{kInputMissing | kBadData | kInputOutput} as read_history does.
RunFacts inspect_run(const std::filesystem::path& directory);

/// For people: at most so many columns where names fit, and so many rows where those of eight
/// epochs leave room for the rest; epochs in which nothing happened are left out first.
std::string run_text(const RunFacts& facts, std::size_t columns, std::size_t rows);
/// One JSON object, with all epochs.
std::string run_json(const RunFacts& facts);

}  // namespace lockstep
