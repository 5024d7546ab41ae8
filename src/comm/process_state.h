// What /proc tells of a process.
#pragma once

#include <cstdint>

#include "lockstep/comm/ledger.h"

namespace lockstep {

struct ProcessFacts {
  ProcessState state = ProcessState::kGone;
  std::uint64_t start_ticks = 0;  ///< since the machine's start
};

/// Of a process of this host; kGone when there is none. Never throws.
ProcessFacts look_at_process(int pid) noexcept;

}  // namespace lockstep
