// Where a ledger leaves its rank, for those who explain and conclude.
#pragma once

#include <cstdint>
#include <string>

#include "lockstep/comm/ledger.h"

namespace lockstep {

/// The operations of one reading in one world. Points into the reading.
struct Position {
  std::uint32_t world = 0;
  const LedgerEntry* last = nullptr;     ///< issued most recently; null: none yet
  const LedgerEntry* waiting = nullptr;  ///< the oldest that has not been waited for; null: none
};
Position position_in(const LedgerReading& reading, std::uint32_t world);

/// "SIGKILL"; "signal 40" where it has no name.
std::string signal_name(int signal);

}  // namespace lockstep
