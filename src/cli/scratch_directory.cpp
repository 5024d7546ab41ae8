#include "scratch_directory.h"

#include <cerrno>
#include <cstdlib>
#include <system_error>

#include "lockstep/base/error.h"

namespace lockstep {

ScratchDirectory::ScratchDirectory(const std::string& purpose) {
  const auto parent = std::filesystem::temp_directory_path();
  std::string pattern = (parent / ("lockstep-" + purpose + "-XXXXXX")).string();
  if (::mkdtemp(pattern.data()) == nullptr) {
    fail(ExitCode::kCannotCreate, "{}: cannot be created: {}", pattern, errno_text(errno));
  }
  path_ = pattern;
}

ScratchDirectory::~ScratchDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace lockstep
