// What is inside a World, for the backends of this module.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "comm/control_plane.h"
#include "lockstep/comm/ledger.h"
#include "lockstep/comm/watchdog.h"
#include "lockstep/comm/world.h"

namespace lockstep {

/// What exists once in a process, shared by a world and its splits.
struct Process {
  explicit Process(double timeout);

  double timeout;
  Watchdog watchdog;
  std::optional<Ledger> ledger;
  bool owns_mpi = false;
  int exceptions_at_start;
};

struct World::Impl {
  std::shared_ptr<Process> process;
  bool is_whole = true;  // false for a split
  std::unique_ptr<ControlPlane> control;
  int local_rank = 0;
  int local_size = 1;
  bool failure_agreed = false;

  Pulse& pulse() { return control->pulse(); }
  Ledger& ledger() { return *process->ledger; }
  /// A communicator of the same ranks, for a data plane. Every rank calls it.
  Communicator duplicate();
  /// What the ledgers of this host tell, as lines to append to a message.
  std::string diagnose() const;
};

/// Polls MPI_Comm_idup against the deadline of `pulse`: MPI_Comm_dup could wait for ever.
Communicator duplicate_communicator(MPI_Comm comm, Pulse& pulse);

}  // namespace lockstep
