// Whether ranks agree on what each has found by itself.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "lockstep/comm/world.h"

namespace lockstep {

/// The ranks whose bytes, a digest mostly, are not the root's: on every rank the same, ascending. A
/// few bytes go to each rank, however many there are. Collective.
std::vector<int> ranks_that_differ(World& world, std::span<const std::byte> own);

}  // namespace lockstep
