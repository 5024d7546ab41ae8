// Where the ledgers of a job lie.
#pragma once

#include <filesystem>

namespace lockstep {

/// The given directory, or a private one of this user and job under $TMPDIR or /tmp; made if
/// needed. Throws Error{kCannotCreate} naming it, also when the private one belongs to someone
/// else.
class JobDirectory {
 public:
  explicit JobDirectory(const std::filesystem::path& chosen);
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace lockstep
