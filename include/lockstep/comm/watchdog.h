// A thread that ends the process when nothing has happened for too long: the last resort for what
// no polled deadline can reach (a call that blocks in a library, a file system, a driver).
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "lockstep/comm/ledger.h"
#include "lockstep/comm/operation.h"

namespace lockstep {

/// Fires when no sign of life has come for the phase's deadline and a margin of a quarter plus one
/// second (polled waits fail first, with a better message): writes with write(2) who this is, its
/// last ledger entry and what the ledgers of this host tell of the others, and ends the process
/// with _exit(69). Time during which the process itself could not run (stopped, suspended, starved)
/// does not count. Also ends the process, with 69 and within about a second, when the launcher that
/// started it (mpirun or its daemon) is gone. Both ends are marked in the ledger. Thread-safe.
/// Started before MPI, which may hang too. A SIGTERM ends the process through it: when the ledgers
/// of this host tell of a rank that died without a word, the first of the others says so.
class Watchdog {
 public:
  /// Watches the start-up phase at once. seconds <= 0: this phase has no deadline.
  explicit Watchdog(double seconds);
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  /// MPI's start follows, which waits for every rank: until there is a ledger, the margin is 3 s
  /// more.
  void starts_mpi() noexcept;
  /// From now on messages name this rank and read the ledgers beside `ledger`.
  void identify(const LedgerIdentity& identity, const std::filesystem::path& ledger);
  void enter_phase(Phase phase, double seconds);
  /// What messages call the step of the phase.
  void at_step(std::int64_t step) noexcept;
  /// A sign of life.
  void feed() noexcept;
  /// When a SIGTERM or the end of the launcher ends this process, it first gives other threads up
  /// to 0.8 s while this says that they have work to finish: mpirun kills a second after its
  /// SIGTERM, and at once when the first rank of the host has ended. So the others end after rank
  /// 0, where that is on their host; work of other ranks may still be cut short. Called in the
  /// watchdog's thread, while others may hold any lock: must take none, nor throw. Replaces the one
  /// before, which is not called any more then, and may refer to what is gone; empty: none.
  void let_finish(std::function<bool()> busy);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace lockstep
