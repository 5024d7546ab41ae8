#include "comm/ledger_position.h"

#include <fmt/format.h>
#include <string.h>

#include <algorithm>

namespace lockstep {

Position position_in(const LedgerReading& reading, std::uint32_t world) {
  Position position{.world = world};
  std::uint64_t finished = 0;
  for (const LedgerEntry& entry : reading.entries) {
    if (entry.world != world || entry.operation == 0) continue;
    if (entry.event == LedgerEvent::kIssued) position.last = &entry;
    if (entry.event == LedgerEvent::kFinished) finished = std::max(finished, entry.operation);
  }
  for (const LedgerEntry& entry : reading.entries) {
    if (position.waiting == nullptr && entry.world == world &&
        entry.event == LedgerEvent::kIssued && entry.operation > finished) {
      position.waiting = &entry;
    }
  }
  return position;
}

std::string signal_name(int signal) {
  const char* name = ::sigabbrev_np(signal);
  return name != nullptr ? fmt::format("SIG{}", name) : fmt::format("signal {}", signal);
}

}  // namespace lockstep
