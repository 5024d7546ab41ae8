#include "lockstep/comm/launcher.h"

#include <time.h>
#include <unistd.h>

#include <cstdlib>
#include <initializer_list>
#include <string_view>

#include "comm/process_state.h"

namespace lockstep {

namespace {

constexpr const char* kSumAlgorithm = "OMPI_MCA_coll_libnbc_iallreduce_algorithm";

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

void leave_out_networks() {
  const int size = first_number({"OMPI_COMM_WORLD_SIZE"});
  if (size < 1 || first_number({"OMPI_COMM_WORLD_LOCAL_SIZE"}) != size) return;
  for (const char* chosen : {"OMPI_MCA_pml", "OMPI_MCA_btl", "OMPI_MCA_mtl"}) {
    if (std::getenv(chosen) != nullptr) return;
  }
  // By what is left out: what is there has other names in other versions.
  ::setenv("OMPI_MCA_pml", "^cm", 0);
  ::setenv("OMPI_MCA_btl", "^openib,ofi", 0);
}

void ask_for_sums_by_halves() {
  if (first_number({"OMPI_COMM_WORLD_SIZE"}) != 2) return;
  ::setenv(kSumAlgorithm, "ring", /*overwrite=*/0);
}

bool sums_by_halves() {
  const char* chosen = std::getenv(kSumAlgorithm);
  return chosen != nullptr &&
         (std::string_view(chosen) == "ring" || std::string_view(chosen) == "1");
}

std::optional<double> seconds_since_start() {
  const std::uint64_t start = look_at_process(::getpid()).start_ticks;
  const long ticks = ::sysconf(_SC_CLK_TCK);
  timespec now{};
  if (start == 0 || ticks <= 0 || ::clock_gettime(CLOCK_BOOTTIME, &now) != 0) return std::nullopt;
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec) -
         static_cast<double>(start) / static_cast<double>(ticks);
}

}  // namespace lockstep
