// All-reduces that are timed and checked, for doctor and bench.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "lockstep/comm/collectives.h"
#include "lockstep/comm/world.h"
#include "lockstep/model/compute_device.h"

namespace lockstep {

/// How often a size is repeated: as often as fits into `seconds`, within these bounds.
struct Repeats {
  int least = 5;
  int most = 50;
  double seconds = 0.1;
};

/// What one rank has seen of one size.
struct TimedSums {
  std::vector<double> seconds;  ///< from the call to the result on the host, one a repetition
  std::int64_t wrong = 0;       ///< elements that were not the known sum, of all that were reduced
};

/// Sums `bytes` (a multiple of 4) of float32 over all ranks, in place, one operation at a time:
/// whole numbers whose sums are exact in any order, and are all compared, outside of the time.
/// Before each a sum of one element lets all ranks begin together. `name` is what the ledger calls
/// them: a literal. Every rank repeats it as often; two repetitions more come first and do not
/// count. Collective; waits with the world's deadline (Error{kUnavailable}). They lie in `memory`
/// if there is any, as of Collectives::allocate; else in memory of their own.
TimedSums time_sums(World& world, Collectives& collectives, const ComputeDevice& device,
                    std::int64_t bytes, const Repeats& repeats, const char* name,
                    std::byte* memory = nullptr);

/// The greatest value of any rank. Collective.
double greatest(World& world, double value);

/// The middle one; of an even number the mean of two. Not of nothing.
double median(std::vector<double> values);

}  // namespace lockstep
