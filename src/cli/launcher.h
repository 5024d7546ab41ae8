// Starting jobs of this program under mpirun, from a process that is no rank itself.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "lockstep/base/error.h"

namespace lockstep {

/// This program's own file. Throws Error{kInternal}.
std::filesystem::path own_program();

struct JobResult {
  int exit_code = 0;   ///< as mpirun gives it; 128 + signal when mpirun itself died of one
  std::string output;  ///< the last 64 KiB of standard output and standard error, if captured
};

/// The code of lockstep with which a job has ended, as a command that started it returns it. Throws
/// Error{kUnavailable} for any other.
ExitCode exit_code_of(const JobResult& result, int ranks);

/// kPassedOn: standard output goes to this process's as it comes, standard error by itself.
enum class JobOutput { kCaptured, kPassedOn };

/// mpirun may hang when it could not start the ranks (a full disk) or cannot see that they have
/// ended.
constexpr double kSecondsWithoutProcess = 20;

/// Runs `mpirun -n ranks lockstep arguments...` on this machine to its end, unbound, with more
/// ranks than cores if need be, and with none of an outer job's variables in its environment; the
/// user's own OMPI_MCA_* stay. MPI must not have been started in this process, and no other thread
/// may want its signals. The job does not outlive this process: SIGINT, SIGTERM, SIGHUP, SIGUSR1
/// and SIGUSR2 end it first (a second one at once), and then throw Error{kUnavailable}, which is
/// also thrown when mpirun cannot be started, or has had no living process for so many seconds.
/// Error{kInputOutput} once the job has ended when its output could not be passed on.
JobResult run_job(int ranks, const std::vector<std::string>& arguments,
                  JobOutput output = JobOutput::kCaptured,
                  double seconds_without_process = kSecondsWithoutProcess);

}  // namespace lockstep
