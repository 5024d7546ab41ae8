// What lockstep bench scaling has been asked for.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "lockstep/cli/settings.h"

namespace lockstep {

/// What a forecast is given by hand, in place of what is measured.
struct GivenForecast {
  std::optional<double> step_seconds;
  std::optional<double> latency;  ///< seconds
  std::optional<double> seconds_per_byte;
  std::optional<std::string> record;  ///< the file of an earlier measurement

  /// Links need not be measured.
  bool links() const { return latency && seconds_per_byte; }
  /// Nothing is left to be measured.
  bool whole() const { return step_seconds || record; }
};

/// Both lists in ascending order, none of their numbers twice.
struct ScalingPlan {
  std::vector<int> ranks;
  int rounds = 3;
  int steps = 40;
  std::vector<int> predict{8, 16, 32, 64, 128, 256, 512, 1024};
  GivenForecast given;
  std::optional<std::filesystem::path> picture;
  bool json = false;
};

/// `job`: the ranks of the job that asks, which are all that is measured; 0: it is asked outside
/// of one. Throws Error{kUsage} for what contradicts itself, or could not be foreseen after all.
ScalingPlan make_scaling_plan(const ParsedSettings& parsed, int job);

}  // namespace lockstep
