#include "fuzz.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include "allocations.h"

namespace lockstep::fuzz {

bool check(Input input) {
  const PeakMemory peak;
  const bool accepted = accepts(input);
  LOCKSTEP_CHECK(peak.bytes() <= most_memory(input.size()),
                 "an input of {} bytes took {} bytes of memory, at most {} are justified",
                 input.size(), peak.bytes(), most_memory(input.size()));
  return accepted;
}

MemoryFile::MemoryFile(std::string_view content) : file_(::memfd_create("input", MFD_CLOEXEC)) {
  LOCKSTEP_CHECK(file_.valid(), "no file in memory");
  write_all(file_.get(), std::as_bytes(std::span(content)), path());
}

std::filesystem::path MemoryFile::path() const {
  return fmt::format("/proc/self/fd/{}", file_.get());
}

}  // namespace lockstep::fuzz
