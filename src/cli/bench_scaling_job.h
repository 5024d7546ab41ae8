// The part of lockstep bench scaling that the ranks of one job do together.
#pragma once

#include <string_view>

#include "scaling_run.h"
#include "session.h"

namespace lockstep {

/// Trains in a temporary directory of the root's, in epochs that are cut short: one that warms up,
/// then as many as have `steps` steps that count. Then times sums of the sizes that training sends,
/// and of smaller ones. Collective; the result is the root's, elsewhere it says nothing. Throws
/// AgreedError, kUsage when an epoch has too few steps to measure one.
ScalingRun measure_scaling(Session& session, int steps);

/// How the steps of a training with these settings sum over ranks, on a backend of this name and in
/// this job of `ranks`; 0: in none yet.
SumAlgorithm step_algorithm(const Settings& settings, std::string_view backend, int ranks);

}  // namespace lockstep
