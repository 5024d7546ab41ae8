// Collectives that wrap any other: one writes the ledger, one injects faults.
#pragma once

#include <memory>

#include "lockstep/comm/collectives.h"
#include "lockstep/comm/fault_plan.h"

namespace lockstep {

/// Records every operation in the world's ledger: when it is issued and when it has been waited
/// for.
std::unique_ptr<Collectives> make_recording(World& world, std::unique_ptr<Collectives> inner);

/// Carries out what `plan` has for FaultPlace::kAllReduce on this rank; every operation, of
/// whatever kind, is a passage. A flip is that of one bit of the result's first four bytes, and
/// needs host buffers.
std::unique_ptr<Collectives> make_faulty(std::shared_ptr<Collectives> inner, FaultPlan plan,
                                         int rank);

}  // namespace lockstep
