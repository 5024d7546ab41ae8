// A directory for what a command needs while it runs.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>

#include "lockstep/base/file.h"

namespace lockstep {

/// lockstep-<purpose>-XXXXXX in `parent`, or else the system's temporary directory, removed with
/// all that is in it: by a small process of its own when this one ends without doing so, however it
/// ends. Not thread-safe.
class ScratchDirectory {
 public:
  /// Throws Error{kCannotCreate} naming the path, or that there is no temporary directory.
  explicit ScratchDirectory(const std::string& purpose, const std::filesystem::path& parent = {});
  ~ScratchDirectory();
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  void start_guard();

  std::filesystem::path path_;
  FileDescriptor life_;  // its other end is the guard's: closed, by whatever, the directory goes
  pid_t guard_ = -1;
};

}  // namespace lockstep
