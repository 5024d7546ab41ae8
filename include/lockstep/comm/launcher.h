// What the launcher tells a process before MPI runs.
#pragma once

namespace lockstep {

/// This process's rank in an MPI job, from its launcher's environment; -1 outside of one.
int mpi_job_rank();

/// The same, else its number among the tasks of Slurm, which a batch script has too; -1: neither.
int launched_rank();

}  // namespace lockstep
