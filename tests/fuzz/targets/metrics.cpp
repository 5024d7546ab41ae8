// metrics.jsonl and decisions.jsonl, which a resume reads.
#include "lockstep/records/metrics.h"

#include <stdlib.h>

#include <fstream>
#include <stdexcept>

#include "../fuzz.h"

namespace lockstep::fuzz {

namespace {

// Cutting replaces the file: one in memory has no directory for that.
class ScratchDirectory {
 public:
  ScratchDirectory() {
    std::string name = std::filesystem::temp_directory_path() / "lockstep-fuzz-XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("no temporary directory");
    path_ = name;
  }
  ~ScratchDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace

std::size_t most_memory(std::size_t size) { return (std::size_t{1} << 20) + 400 * size; }

bool accepts(Input input) {
  static const ScratchDirectory scratch;
  const std::filesystem::path path = scratch.path() / "metrics.jsonl";
  std::ofstream(path, std::ios::binary | std::ios::trunc) << text_of(input);
  return unless_refused({ExitCode::kBadData}, [&] {
    MetricsFile metrics(path);
    metrics.cut_back(100, "test");
    metrics.append({{"step", 7}});
    // What is left is good, and all of it is kept.
    const std::string kept = read_text_file(path);
    MetricsFile(path).cut_back(100, "test");
    LOCKSTEP_CHECK(read_text_file(path) == kept, "a second cut found more to cut");
  });
}

}  // namespace lockstep::fuzz
