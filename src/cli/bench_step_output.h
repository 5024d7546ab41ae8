// What lockstep bench step has found out, and how it says so.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "layer_timer.h"
#include "lockstep/cli/settings.h"
#include "lockstep/train/phase_seconds.h"

namespace lockstep {

/// Of one step.
struct PassSeconds {
  double forward = 0, backward = 0;
};

struct StepFacts {
  int ranks = 1;
  int threads = 1;  ///< of the root
  std::string backend;
  std::string numerics;  ///< of the root: numerical_identity
  int warm_up = 0;       ///< steps that do not count
  int steps = 0;         ///< timed by phase, and as many by layer
  std::int64_t global_batch = 0;
  std::int64_t samples = 0;             ///< of all ranks, in `steps`
  std::vector<PhaseSeconds> by_rank;    ///< of a mean step, one a rank
  std::vector<LayerTime> layers;        ///< the root's, all of these steps together
  PhaseSeconds layer_seconds;           ///< likewise, by phase
  std::optional<PassSeconds> watching;  ///< the root's: what it adds to one step
  double sgemm_gflops = 0;              ///< the root's, with the same threads
};

std::string step_text(const StepFacts& facts, const Settings& settings);
/// One JSON object and a line break.
std::string step_json(const StepFacts& facts, const Settings& settings);

}  // namespace lockstep
