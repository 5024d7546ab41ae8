// A directory for what a command needs while it runs.
#pragma once

#include <filesystem>
#include <string>

namespace lockstep {

/// lockstep-<purpose>-XXXXXX in the system's temporary directory, removed with all that is in it.
class ScratchDirectory {
 public:
  /// Throws Error{kCannotCreate} naming the path.
  explicit ScratchDirectory(const std::string& purpose);
  ~ScratchDirectory();
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace lockstep
