#include "lockstep/checkpoint/manifest.h"

#include "../fuzz.h"
#include "lockstep/base/hash.h"

namespace lockstep::fuzz {

namespace {

bool parses(const std::string& text) {
  return unless_refused({ExitCode::kBadData}, [&] {
    const Manifest manifest = parse_manifest(text, "input");
    LOCKSTEP_CHECK(manifest.global_step >= 0, "a step below 0");
    LOCKSTEP_CHECK(encode_manifest(manifest) == text, "another text for the same content");
    for (const ManifestEntry& file : manifest.files) {
      LOCKSTEP_CHECK(std::filesystem::path(file.name).filename() == file.name &&
                         file.name != ".." && file.name != ".",
                     "a name that leaves its directory");
    }
  });
}

}  // namespace

std::size_t most_memory(std::size_t size) { return (std::size_t{1} << 20) + 400 * size; }

// As it is, and as the first line of a manifest: no fuzzer would guess the SHA-256 in the second.
bool accepts(Input input) {
  const std::string text(text_of(input));
  const std::string line = text + '\n';
  const bool sealed = parses(line + sha256_hex(line) + '\n');
  return parses(text) || sealed;
}

}  // namespace lockstep::fuzz
