#include "lockstep/comm/ledger.h"

#include <stdlib.h>

#include <algorithm>
#include <stdexcept>

#include "../fuzz.h"

namespace lockstep::fuzz {

namespace {

// What a rank of two has written after its start.
std::string written() {
  std::string directory = std::filesystem::temp_directory_path() / "lockstep-fuzz-XXXXXX";
  if (::mkdtemp(directory.data()) == nullptr) throw std::runtime_error("no temporary directory");
  Ledger ledger(directory, {.rank = 1, .size = 2, .host = "node1", .job = 7});
  ledger.enter_phase(Phase::kTraining);
  const std::string bytes = read_text_file(ledger.path());
  ledger.remove();
  return bytes;
}

bool reads(std::string_view bytes) {
  const MemoryFile file(bytes);
  return unless_refused({ExitCode::kBadData}, [&] {
    const std::vector<LedgerReading> readings{read_ledger(file.path())};
    constexpr std::int64_t kSomeTime = 1'800'000'000'000'000'000;  // ns since 1970
    LOCKSTEP_CHECK(!explain(readings, kSomeTime).empty(), "nothing is said of a ledger");
  });
}

}  // namespace

// A list of the ranks that are missing.
std::size_t most_memory(std::size_t size) { return (std::size_t{16} << 20) + 64 * size; }

// As it is, and as patches of a good ledger, whatever its format: where (two bytes, big-endian),
// how many bytes, the bytes.
bool accepts(Input input) {
  reads(text_of(input));
  static const std::string good = written();
  std::string patched = good;
  for (Input rest = input; rest.size() >= 3;) {
    const std::size_t at = std::size_t{rest[0]} << 8 | rest[1];
    const auto bytes = rest.subspan(3, std::min<std::size_t>(rest[2], rest.size() - 3));
    for (std::size_t i = 0; i < bytes.size() && at + i < patched.size(); ++i) {
      patched[at + i] = static_cast<char>(bytes[i]);
    }
    rest = rest.subspan(3 + bytes.size());
  }
  return reads(patched);
}

}  // namespace lockstep::fuzz
