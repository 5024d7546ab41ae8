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

/// Has Open MPI sum between two ranks, before MPI starts, by halves that one of them each adds up
/// (what it calls a ring): half the time of its own choice, all of it to rank 0 and all of it back,
/// and the same bits. Not where OMPI_MCA_coll_libnbc_iallreduce_algorithm chooses. Among more ranks
/// the order of additions would be another one.
void sum_by_halves();

/// Seconds since this process was started, before its libraries were loaded: to a hundredth, which
/// is all that the system tells.
std::optional<double> seconds_since_start();

}  // namespace lockstep
