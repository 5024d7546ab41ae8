// Proof that all ranks hold the same weights.
#pragma once

#include <cstdint>
#include <string>

#include "lockstep/comm/world.h"
#include "lockstep/model/flat_parameters.h"

namespace lockstep {

/// Compares the SHA-256 of every rank's weights; all ranks call it. When they differ, every rank
/// throws AgreedError{kDiverged} naming the ranks that differ from the majority (from rank 0 in a
/// tie), the tensors, and the first element with both values. `moment` says when: "step 120".
void check_replicas(World& world, const FlatParameters& parameters, const std::string& moment);

}  // namespace lockstep
