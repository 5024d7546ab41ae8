// What every reader of data files reads through.
#include "../fuzz.h"
#include "data/byte_source.h"

namespace lockstep::fuzz {

namespace {

// The content, read in pieces of that size; its first 64 KiB are kept.
std::string content(const std::filesystem::path& path, std::size_t piece) {
  data::ByteSource source(path);
  std::string kept;
  std::vector<std::byte> buffer(piece);
  std::uint64_t total = 0;
  for (std::size_t got = piece; got == piece;) {
    got = source.read(buffer);
    total += got;
    LOCKSTEP_CHECK(total <= source.content_limit(), "{} bytes of content", total);
    if (kept.size() < (std::size_t{1} << 16)) {
      kept.append(reinterpret_cast<const char*>(buffer.data()), got);
    }
  }
  kept.resize(std::min(kept.size(), std::size_t{1} << 16));
  return kept;
}

}  // namespace

std::size_t most_memory(std::size_t) { return std::size_t{2} << 20; }

bool accepts(Input input) {
  const MemoryFile file(text_of(input));
  std::string first;
  const bool taken =
      unless_refused({ExitCode::kBadData}, [&] { first = content(file.path(), 4096); });
  std::string second;
  const bool taken_again =
      unless_refused({ExitCode::kBadData}, [&] { second = content(file.path(), 1021); });
  LOCKSTEP_CHECK(taken == taken_again && first == second, "the content depends on how it is read");
  return taken;
}

}  // namespace lockstep::fuzz
