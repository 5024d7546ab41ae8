#include "comm/job_directory.h"

#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <string>

#include "lockstep/base/error.h"
#include "lockstep/base/file.h"

namespace lockstep {

namespace {

// What the launcher calls this job; the process id for a program started without one.
std::string job_name() {
  for (const char* name : {"PMIX_NAMESPACE", "OMPI_MCA_ess_base_jobid", "SLURM_STEP_ID"}) {
    const char* value = std::getenv(name);
    if (value == nullptr || *value == '\0') continue;
    std::string text = value;
    if (const char* slurm_job = std::getenv("SLURM_JOB_ID"))
      text = fmt::format("{}-{}", slurm_job, text);
    for (char& c : text) {
      const bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
      if (!plain) c = '-';
    }
    return text;
  }
  return fmt::format("process-{}", ::getpid());
}

}  // namespace

JobDirectory::JobDirectory(const std::filesystem::path& chosen) {
  if (!chosen.empty()) {
    path_ = chosen;
    lockstep::create_directories(path_);
    return;
  }
  const char* temporary = std::getenv("TMPDIR");
  path_ = std::filesystem::path(temporary != nullptr && *temporary != '\0' ? temporary : "/tmp") /
          fmt::format("lockstep-{}-{}", ::getuid(), job_name());
  if (::mkdir(path_.c_str(), 0700) != 0 && errno != EEXIST) {
    fail(ExitCode::kCannotCreate, "{}: the directory of the ledgers cannot be created: {}",
         path_.string(), errno_text(errno));
  }
  // The name can be guessed, so someone else on this host may have made it, or a link of that name.
  struct stat status {};
  if (::lstat(path_.c_str(), &status) != 0 || !S_ISDIR(status.st_mode) ||
      status.st_uid != ::getuid()) {
    fail(ExitCode::kCannotCreate,
         "{}: the directory of the ledgers is not a directory of this user: choose one with "
         "--ledger-dir",
         path_.string());
  }
}

}  // namespace lockstep
