// The content of a file as a stream of bytes, inflated where the file is gzip.
#pragma once

#include <zlib.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lockstep/base/file.h"

namespace lockstep::data {

/// Compressed content may have at most kFreeExpansion + kMostExpansion times the file's size.
inline constexpr std::uint64_t kFreeExpansion = std::uint64_t{64} << 20;
inline constexpr std::uint64_t kMostExpansion = 200;

/// Compression is told by the first two bytes (RFC 1952), whatever the file's name. Memory use is
/// constant. Not thread-safe.
class ByteSource {
 public:
  /// `progress` is called at least once every 16 MiB that are read from the file. Throws
  /// Error{kInputMissing} when there is no such regular file, or it cannot be opened.
  explicit ByteSource(std::filesystem::path path, std::function<void()> progress = {});

  /// Fills `out` from where the last call stopped. Fewer bytes mean the content's end, and that
  /// gzip's checksum and length were right. Throws Error{kBadData} for damaged, cut or over-long
  /// gzip data or bytes after it, Error{kInputOutput} when reading fails.
  std::size_t read(std::span<std::byte> out);

  /// The most bytes that the whole content can have; exact when the file is not compressed.
  std::uint64_t content_limit() const;
  std::uint64_t file_size() const { return file_size_; }
  bool compressed() const { return inflater_ != nullptr; }
  std::string name() const { return path_.string(); }

 private:
  struct EndInflate {
    void operator()(z_stream* stream) const;
  };

  std::size_t read_file(std::span<std::byte> out);
  bool refill();
  [[noreturn]] void fail_gzip(std::string_view reason) const;

  std::filesystem::path path_;
  std::function<void()> progress_;
  FileDescriptor file_;
  std::uint64_t file_size_ = 0;
  std::uint64_t file_offset_ = 0;
  std::unique_ptr<z_stream, EndInflate> inflater_;
  std::vector<std::byte> compressed_bytes_;
  // Compressed data is a sequence of members; bytes between or after them are damage.
  std::uint64_t member_start_ = 0;
  bool between_members_ = true;
  std::uint64_t inflated_ = 0;
};

/// The first bytes of the content, at most `count`.
std::string content_head(const std::filesystem::path& path, std::size_t count);

/// Text found in a file, for a message: cut when long, bytes that cannot be printed as \xNN, in
/// quotes.
std::string quoted(std::string_view text);

}  // namespace lockstep::data
