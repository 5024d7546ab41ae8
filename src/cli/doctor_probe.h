// The measurements of lockstep doctor that ranks make together. All are collective, check every
// result, wait with the world's deadline (Error{kUnavailable}), and repeat what they time.
#pragma once

#include <vector>

#include "cli/doctor_report.h"
#include "lockstep/comm/collectives.h"
#include "lockstep/comm/fault_plan.h"
#include "lockstep/comm/world.h"
#include "lockstep/model/compute_device.h"

namespace lockstep {

/// One reading a rank, on the root: the best of several round trips over the control plane.
std::vector<ClockReading> read_clocks(World& world);

/// A matrix product of fixed size, by all ranks at once; one entry a rank, everywhere. Each
/// repetition passes FaultPlace::kForward.
std::vector<ComputeTime> time_computing(World& world, const ComputeDevice& device,
                                        FaultPlan& faults);

/// Sums of float32 of growing sizes, up to 16 MiB or as far as one takes under a second; equal
/// everywhere. In `memory` of kLargestSum bytes, if there is any, as of Collectives::allocate.
std::vector<AllReduceTime> time_all_reduce(World& world, Collectives& collectives,
                                           const ComputeDevice& device, std::byte* memory);
inline constexpr std::int64_t kLargestSum = 16 << 20;

/// Every pair of ranks, on the root. Large messages have `bytes`. Of many ranks or slow links each
/// pair exchanges fewer messages, so that all together take about ten seconds where they can.
std::vector<LinkTime> time_links(World& world, Collectives& collectives,
                                 const ComputeDevice& device, std::int64_t bytes);

}  // namespace lockstep
