// What is inside a World, for the backends of this module.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "comm/control_plane.h"
#include "comm/inquiry.h"
#include "lockstep/comm/ledger.h"
#include "lockstep/comm/watchdog.h"
#include "lockstep/comm/world.h"

namespace lockstep {

class SharedSums;

/// What exists once in a process, shared by a world and its splits.
struct Process {
  explicit Process(double timeout);

  double timeout;
  Watchdog watchdog;
  std::optional<Ledger> ledger;
  bool owns_mpi = false;
  std::uint32_t splits = 0;  // so far
  std::int64_t step = 0;     // as at_step said
  int exceptions_at_start;
  std::vector<SharedSums*> sums;  // of all its Collectives

  /// Does this rank's share of them.
  void add_up();
};

struct World::Impl {
  std::shared_ptr<Process> process;
  Impl* parent = nullptr;  // what this is a split of; null: the whole job
  OperationCounter operations;
  std::unique_ptr<ControlPlane> control;
  std::unique_ptr<Inquiry> inquiry;
  int local_rank = 0;
  int local_size = 1;
  bool failure_agreed = false;

  Pulse& pulse() { return control->pulse(); }
  Ledger& ledger() { return *process->ledger; }
  /// A communicator of the same ranks, for a data plane. Every rank calls it.
  Communicator duplicate();
  /// The ledgers of this job on this host.
  std::vector<LedgerReading> read_own_ledgers() const noexcept;
  /// The hosts of the members that count, with those of their ranks that do.
  std::vector<Inquiry::Host> hosts_of(
      const std::function<bool(const ControlPlane::Member&)>& counts) const;
  /// What the ledgers of this host and the ranks of others tell, as lines to append to a message.
  /// Takes up to two seconds when others do not answer. Never throws.
  std::string diagnose() { return find_out().text; }
  /// Throws Error{kUnavailable}: the ranks have been waited for in vain in `operation`.
  [[noreturn]] void give_up_waiting(const std::string& operation, double waited);
  /// An operation has ended: the ranks that wait in the worlds around this one hear of it now and
  /// then.
  void work_goes_on();
  /// Says so in all of them.
  void tell_outer_worlds();

 private:
  struct Findings {
    std::string text;
    std::string suspects;  // "; waiting for rank 3 (host)" and the like; may be empty
  };
  Findings find_out() noexcept;
};

/// Polls MPI_Comm_idup against the deadline of `pulse`: MPI_Comm_dup could wait for ever.
Communicator duplicate_communicator(MPI_Comm comm, Pulse& pulse);

}  // namespace lockstep
