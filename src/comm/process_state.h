// What /proc tells of a process.
#pragma once

#include <cstdint>

#include "lockstep/comm/ledger.h"

namespace lockstep {

struct ProcessFacts {
  ProcessState state = ProcessState::kGone;
  std::uint64_t start_ticks = 0;  ///< since the machine's start
  int parent = 0;                 ///< its process number; 0: not known
};

/// Of a process of this host; kGone when there is none. Never throws.
ProcessFacts look_at_process(int pid) noexcept;

/// Tells apart the containers of one host that number their processes each for itself; 0: not
/// known. Never throws.
std::uint32_t own_pid_namespace() noexcept;

}  // namespace lockstep
