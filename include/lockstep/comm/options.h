// How ranks find each other and how long they wait.
#pragma once

#include <filesystem>
#include <string>

namespace lockstep {

struct CommOptions {
  /// Data plane: auto (nccl for device buffers, else mpi), mpi or nccl.
  std::string backend = "auto";
  /// Seconds that a rank waits for the others in one operation, and that a phase may show no sign
  /// of life; 0: for ever. >= 0.
  double collective_timeout = 120.0;
  /// Whether gradients lie in memory that the ranks share where all of them are on one host, and
  /// are summed there; else they are sent. The bits are those of Open MPI's default order.
  bool shared_memory = true;
  /// Node-local directory of the ledgers; empty: a directory of this job and user under $TMPDIR or
  /// /tmp. The ranks of one job on one host share it.
  std::filesystem::path ledger_dir;
  /// Faults to inject, for rehearsals: the text of a FaultPlan. Empty: none.
  std::string inject_fault;
};

}  // namespace lockstep
