// Collectives that wrap any other: one writes the ledger, one injects faults.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "lockstep/comm/collectives.h"

namespace lockstep {

/// Records every operation in the world's ledger: when it is issued and when it has been waited
/// for.
std::unique_ptr<Collectives> make_recording(World& world, std::unique_ptr<Collectives> inner);

/// What goes wrong at one operation of this rank.
struct Fault {
  enum class Kind {
    kDelay,    ///< the operation is issued `seconds` late
    kHang,     ///< the calling thread never returns
    kThrow,    ///< Error{kInternal}: the operation is not issued
    kCorrupt,  ///< the lowest bit of the first byte of the result is flipped on this rank; host
               ///< buffers only
  };
  Kind kind = Kind::kDelay;
  std::int64_t operation = 0;  ///< counted from 0 over all operations of the object
  double seconds = 0;
};

/// For tests of what a failure leads to.
std::unique_ptr<Collectives> make_faulty(std::unique_ptr<Collectives> inner,
                                         std::vector<Fault> faults);

}  // namespace lockstep
