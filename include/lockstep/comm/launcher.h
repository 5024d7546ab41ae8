// What the launcher and the system tell a process before MPI runs.
#pragma once

#include <optional>

namespace lockstep {

/// This process's rank in an MPI job, from its launcher's environment; -1 outside of one.
int mpi_job_rank();

/// The same, else its number among the tasks of Slurm, which a batch script has too; -1: neither.
int launched_rank();

/// Leaves out, before MPI starts, what Open MPI would only need between hosts, where all ranks of
/// the job are on this one and nothing was chosen (OMPI_MCA_pml, OMPI_MCA_btl, OMPI_MCA_mtl):
/// looking for a network adapter that is not there takes a fifth of a second.
void leave_out_networks();

/// Asks Open MPI, before MPI starts, for sums by halves in a job of two ranks: each adds up one
/// half and sends it back. Open MPI calls that a ring. Its own choice sends everything to rank 0
/// and everything back, which takes twice as long and gives the same bits. Does nothing where the
/// environment has OMPI_MCA_coll_libnbc_iallreduce_algorithm. Among more ranks a ring would add in
/// another order.
void ask_for_sums_by_halves();
/// Whether that is asked for, by lockstep or by the user.
bool sums_by_halves();

/// Seconds since this process was started, before its libraries were loaded: to a hundredth, which
/// is all that the system tells.
std::optional<double> seconds_since_start();

}  // namespace lockstep
