// Two runs compared bit by bit: every tensor and value of their checkpoints, every record.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace lockstep {

/// The first place of one file in which two runs differ. Values are texts: floating-point numbers
/// in hexadecimal, "absent" where one run has none.
struct Difference {
  std::string file{};   ///< "model.safetensors", "state.json", "metrics.jsonl", ...
  std::string place{};  ///< "dense1.weight [3,17]", "/best/metric", "step record, /loss"
  std::string first{};
  std::string second{};
  std::int64_t differing = 0;  ///< elements of that tensor that differ; 0: it is no tensor
  std::int64_t elements = 0;   ///< of that tensor
  std::int64_t differing_tensors = 0;
  std::int64_t tensors = 0;  ///< of that file
};

struct Comparison {
  /// The first step after which anything differs.
  std::int64_t step = 0;
  /// In that step, one a file; empty: the runs are equal.
  std::vector<Difference> differences;
  /// What was compared and found equal.
  std::int64_t checkpoints = 0;
  std::int64_t metrics = 0;
  std::int64_t decisions = 0;
  bool equal() const { return differences.empty(); }
};

/// Compares the checkpoints of two run directories that both have, or that one lacks, up to the
/// first step that differs, and metrics.jsonl and decisions.jsonl without what depends on time. Why
/// a run was stopped and what it was computed with are no part of the comparison. `progress` is
/// called often. Throws Error{kBadData | kInputMissing}.
Comparison compare_runs(const std::filesystem::path& first, const std::filesystem::path& second,
                        const std::function<void()>& progress);

}  // namespace lockstep
