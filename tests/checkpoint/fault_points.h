// Counts, records and breaks the system calls by which a program changes files: a test program that
// links fault_points.cpp has its own open, write, fsync, rename, ... in front of the C library's.
// Its fsync only pretends.
#pragma once

#include <string>
#include <vector>

namespace lockstep::test {

enum class Fault {
  kNone,      ///< only records
  kCrash,     ///< the process ends at that call; a write has written half by then
  kError,     ///< that one call fails
  kDiskFull,  ///< that call and all later ones that need space fail with ENOSPC
};

constexpr int kCrashStatus = 42;  ///< exit status of a process that met its kCrash

/// Active from construction to destruction; one at a time, one thread.
class FaultScope {
 public:
  /// `at` counts calls from 0.
  explicit FaultScope(Fault fault = Fault::kNone, int at = 0, int error_number = 0);
  ~FaultScope();
  FaultScope(const FaultScope&) = delete;
  FaultScope& operator=(const FaultScope&) = delete;

  /// "write <path>", "rename <from> <to>", ... in order, the broken call included.
  const std::vector<std::string>& calls() const;
  /// What each of them was given to write; empty for those that write nothing.
  const std::vector<std::string>& written() const;
  /// Whether the call to break has been reached.
  bool reached() const;
};

}  // namespace lockstep::test
