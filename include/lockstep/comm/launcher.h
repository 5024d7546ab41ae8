// What the launcher tells a process before MPI runs.
#pragma once

namespace lockstep {

/// This process's rank, from the launcher's environment; -1 where no known launcher started it.
int launched_rank();

}  // namespace lockstep
