// MANIFEST.json: what a checkpoint directory must hold. Two lines:
//   {"files":[{"name":"model.safetensors","sha256":"<64
//   hex>","size":3550512},...],"global_step":628,"schema":1} <SHA-256 of the first line with its
//   newline, 64 hex>
// The first line is canonical JSON: no spaces, keys and files in byte order. There is exactly one
// text for one content, and no other is accepted.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace lockstep {

inline constexpr std::string_view kManifestName = "MANIFEST.json";
inline constexpr std::uint64_t kManifestLimit = 1 << 20;  ///< bytes

struct ManifestEntry {
  std::string name;  ///< see is_plain_file_name
  std::uint64_t size = 0;
  std::string sha256;  ///< 64 lower-case hexadecimal digits

  bool operator==(const ManifestEntry&) const = default;
};

struct Manifest {
  std::int64_t global_step = 0;
  std::vector<ManifestEntry> files;  ///< sorted by name

  bool operator==(const Manifest&) const = default;
};

/// 1 to 255 letters, digits, '.', '_' and '-', no '.' in front: a name that stays in its directory
/// on every system. The manifest's own name is none.
bool is_plain_file_name(std::string_view name);

/// The files are sorted. A name that is not plain, or twice, is the caller's error:
/// Error{kInternal}.
std::string encode_manifest(Manifest manifest);

/// Throws Error{kBadData} naming `origin` unless `text` is exactly what encode_manifest would
/// write.
Manifest parse_manifest(std::string_view text, std::string_view origin);

}  // namespace lockstep
