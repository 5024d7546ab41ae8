#include "lockstep/base/error.h"

#include <new>
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

Error caught_error() {
  try {
    throw;
  } catch (const Error& error) {
    return error;
  } catch (const std::bad_alloc&) {
    return {ExitCode::kUnavailable, "out of memory"};
  } catch (const std::exception& error) {
    // LibTorch's exceptions end in a stack trace, which is for its developers.
    std::string text = error.what();
    for (const char* trace : {"\nException raised from", "\nframe #"}) {
      text = text.substr(0, text.find(trace));
    }
    const bool memory = text.find("allocate memory") != std::string::npos ||
                        text.find("out of memory") != std::string::npos;
    if (memory) return {ExitCode::kUnavailable, "out of memory: " + text};
    return {ExitCode::kInternal, text};
  } catch (...) {
    return {ExitCode::kInternal, "an exception of unknown type"};
  }
}

std::string errno_text(int error_number) { return std::generic_category().message(error_number); }

namespace internal {

void check_failed(const char* file, int line, const char* condition, const std::string& message) {
  fail(ExitCode::kInternal, "internal error at {}:{}: {} ({})", file, line, message, condition);
}

}  // namespace internal

}  // namespace lockstep
