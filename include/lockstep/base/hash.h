// SHA-256 (FIPS 180-4, by OpenSSL) of memory and files.
#pragma once

#include <array>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace lockstep {

using Sha256Digest = std::array<std::byte, 32>;

/// Incremental SHA-256. Move-only; not thread-safe.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;

  Sha256& update(std::span<const std::byte> bytes);
  Sha256& update(std::string_view text) { return update(std::as_bytes(std::span(text))); }
  /// The digest of all bytes so far. The object starts anew afterwards.
  Sha256Digest finish();

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

Sha256Digest sha256(std::span<const std::byte> bytes);
/// 64 lower-case hexadecimal digits.
std::string sha256_hex(std::span<const std::byte> bytes);
std::string sha256_hex(std::string_view text);
std::string to_hex(const Sha256Digest& digest);
/// Of a file's content. Throws Error{kInputMissing | kInputOutput} naming the path.
std::string sha256_file(const std::filesystem::path& path);

}  // namespace lockstep
