// Files: reading whole, and writing so that a crash leaves the old content or the new, never a
// mixture. All functions throw Error with the path and the system's reason: kInputMissing when an
// input cannot be opened, kCannotCreate when an output cannot be created, kInputOutput when
// reading, writing or syncing fails. Thread-safe for different paths.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lockstep/base/error.h"

namespace lockstep {

/// Owns a file descriptor; closed (errors ignored) when destroyed. Move-only.
class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int fd) : fd_(fd) {}
  ~FileDescriptor();
  FileDescriptor(FileDescriptor&& other) noexcept;
  FileDescriptor& operator=(FileDescriptor&& other) noexcept;
  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  /// Gives the descriptor up, unclosed.
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_ = -1;
};

/// The whole content of a regular file. Refuses a directory (kInputMissing) and anything larger
/// than `limit` bytes (kBadData) before memory is taken.
std::vector<std::byte> read_file(const std::filesystem::path& path,
                                 std::uint64_t limit = std::uint64_t{1} << 40);
std::string read_text_file(const std::filesystem::path& path,
                           std::uint64_t limit = std::uint64_t{1} << 30);

/// Creates (or truncates) `path`, writes all bytes, fsyncs, closes: errors of each are reported.
void write_file_durably(const std::filesystem::path& path, std::span<const std::byte> bytes);

/// Likewise, but `path` must not exist. Calls `progress` at least once every 16 MiB; what was
/// written reaches the disk on the way, so that no single wait is for all of it.
void write_new_file_durably(const std::filesystem::path& path, std::span<const std::byte> bytes,
                            const std::function<void()>& progress);

/// Makes the entries of a directory durable.
void fsync_directory(const std::filesystem::path& directory);

/// Replaces `path` as one step: a temporary file beside it (`path`.tmp, removed on failure; a
/// symbolic link of that name is refused), fsync, rename, directory fsync. Throws
/// Error{kCannotCreate} when a device, a pipe or a socket is there, or a link to one. progress: see
/// write_new_file_durably().
void replace_file(const std::filesystem::path& path, std::string_view content,
                  const std::function<void()>& progress = {});

/// mkdir -p. Throws kCannotCreate with the path and the reason.
void create_directories(const std::filesystem::path& directory);

/// Writes all of `bytes` to an open descriptor, restarting after EINTR and short writes. `path` is
/// for the message.
void write_all(int fd, std::span<const std::byte> bytes, const std::filesystem::path& path);

/// read(2), at most 16 MiB, restarted after EINTR: the bytes read, 0 at the end, or -1 and errno.
ssize_t read_some(int fd, std::span<std::byte> bytes);

/// The file that `fd` has open still has the name `path` (a link there does not count). Throws
/// Error{kInputOutput} where that cannot be found out.
bool is_file_at(int fd, const std::filesystem::path& path);

/// What it means that something could not be created with this errno: kInputOutput where there was
/// no room, kCannotCreate else.
ExitCode creation_failure(int error_number);

}  // namespace lockstep
