#include "lockstep/base/error.h"

#include <system_error>

namespace lockstep {

std::string_view describe(ExitCode code) {
  switch (code) {
    case ExitCode::kDone:
      return "done";
    case ExitCode::kUsage:
      return "wrong command line or settings file";
    case ExitCode::kBadData:
      return "bad data, or a damaged checkpoint and no good one";
    case ExitCode::kInputMissing:
      return "an input is missing";
    case ExitCode::kUnavailable:
      return "a rank or the network failed, or a deadline passed";
    case ExitCode::kInternal:
      return "internal error";
    case ExitCode::kCannotCreate:
      return "output cannot be created, or the run directory exists or is in use";
    case ExitCode::kInputOutput:
      return "a read or write failed (disk full)";
    case ExitCode::kStopped:
      return "stopped before the end, checkpoint written";
    case ExitCode::kDiverged:
      return "replicas diverged, training became non-finite, or a proof failed";
    case ExitCode::kSettings:
      return "settings contradict the checkpoint";
  }
  return "unknown";
}

std::string errno_text(int error_number) { return std::generic_category().message(error_number); }

namespace internal {

void check_failed(const char* file, int line, const char* condition, const std::string& message) {
  fail(ExitCode::kInternal, "internal error at {}:{}: {} ({})", file, line, message, condition);
}

}  // namespace internal

}  // namespace lockstep
