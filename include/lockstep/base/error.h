// Exit codes, the one exception type, and assertions that stay on in release builds.
#pragma once

#include <fmt/core.h>

#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace lockstep {

/// What the process returns; sysexits(3) where one fits. The README lists the same table.
enum class ExitCode : int {
  kDone = 0,
  kUsage = 64,         ///< wrong command line or settings file
  kBadData = 65,       ///< damaged input, or a damaged checkpoint and no good one
  kInputMissing = 66,  ///< an input file does not exist or cannot be opened
  kUnavailable = 69,   ///< a rank or the network failed, or a deadline passed
  kInternal = 70,      ///< a broken invariant of lockstep itself
  kCannotCreate = 73,  ///< output cannot be created, exists already, or is in use
  kInputOutput = 74,   ///< a read or write failed (disk full)
  kStopped = 75,       ///< stopped before the end, checkpoint written
  kDiverged = 76,      ///< replicas diverged, training became non-finite, or a proof failed
  kSettings = 78,      ///< settings contradict the checkpoint
};

/// One line for people: what the code means.
std::string_view describe(ExitCode code);

/// A failure the user can act on. Caught once, at the top of the program, which prints the message
/// and returns the code.
class Error : public std::runtime_error {
 public:
  Error(ExitCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ExitCode code() const noexcept { return code_; }

 private:
  ExitCode code_;
};

/// A failure that every rank throws in the same place, because they agreed on it: the job can end
/// in good order, and only the root needs to speak.
class AgreedError : public Error {
 public:
  using Error::Error;
};

/// Throws Error{code} with a formatted message: fail(ExitCode::kBadData, "{}: empty file", path).
template <typename... Args>
[[noreturn]] void fail(ExitCode code, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(code, fmt::format(format, std::forward<Args>(args)...));
}

/// In a catch block: what was caught, as an Error. An Error keeps its code; memory that could not
/// be had (by new or by an allocator that throws its own) is kUnavailable; all else is kInternal.
Error caught_error();

/// "No such file or directory" and the like, for an errno value. Thread-safe.
std::string errno_text(int error_number);

namespace internal {
[[noreturn]] void check_failed(const char* file, int line, const char* condition,
                               const std::string& message);
}  // namespace internal

}  // namespace lockstep

/// Asserts an invariant of lockstep itself, in every build type; throws Error{kInternal}. The
/// second and further arguments are a fmt format string and its values.
#define LOCKSTEP_CHECK(condition, ...)                                   \
  do {                                                                   \
    if (!(condition)) [[unlikely]]                                       \
      ::lockstep::internal::check_failed(__FILE__, __LINE__, #condition, \
                                         ::fmt::format(__VA_ARGS__));    \
  } while (false)
