#include "lockstep/comm/launcher.h"

#include <cstdlib>
#include <initializer_list>

namespace lockstep {

int launched_rank() {
  for (const char* name : {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID"}) {
    if (const char* value = std::getenv(name)) return std::atoi(value);
  }
  return -1;
}

}  // namespace lockstep
