#include "lockstep/comm/launcher.h"

#include <cstdlib>
#include <initializer_list>

namespace lockstep {

namespace {

int first_number(std::initializer_list<const char*> variables) {
  for (const char* name : variables) {
    if (const char* value = std::getenv(name)) return std::atoi(value);
  }
  return -1;
}

}  // namespace

int mpi_job_rank() { return first_number({"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK"}); }

int launched_rank() {
  const int rank = mpi_job_rank();
  return rank >= 0 ? rank : first_number({"SLURM_PROCID"});
}

}  // namespace lockstep
