// How the end of a process gets into its ledger, whoever ends it.
#pragma once

#include <filesystem>
#include <string_view>

#include "comm/ledger_format.h"
#include "lockstep/base/error.h"

namespace lockstep {

/// From now on the end of this process is marked in this ledger: by mark_end(), and by handlers of
/// the signals that end a process, which then take the course they would have taken (another
/// handler, or the end). Replaces an earlier ledger. The ledger's own object may go; its file may
/// not before forget_ledger(). Throws Error{kInputOutput}.
void mark_end_in(const std::filesystem::path& ledger);
void forget_ledger() noexcept;

/// SIGTERM stops the thread that receives it, and leaves the end to whoever reads this eventfd: it
/// has a second to call die_of(pending_termination()). -1: SIGTERM ends the process at once.
void leave_termination_to(int eventfd) noexcept;
/// The signal; 0: none.
int pending_termination() noexcept;
/// Ends the process as the signal would have done.
[[noreturn]] void die_of(int signal) noexcept;

/// The process is about to end with this code. The first mark counts. Async-signal-safe.
void mark_end(ExitCode code, std::string_view last_words) noexcept;
/// The same for a ledger at hand.
void mark_end(LedgerHeader& header, ExitCode code, std::string_view last_words) noexcept;

}  // namespace lockstep
