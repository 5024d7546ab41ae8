// What this program's own code has taken from the heap; not what libraries have taken for
// themselves.
#pragma once

namespace lockstep {

struct OwnAllocations {
  long count = 0;
  long bytes = 0;
  long largest = 0;  ///< bytes, since the last call of own_allocations()

  OwnAllocations operator-(const OwnAllocations& before) const {
    return {count - before.count, bytes - before.bytes, largest};
  }
};

/// Since the program began. Those of all threads.
OwnAllocations own_allocations();

}  // namespace lockstep
