#include "lockstep/base/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

namespace lockstep {

namespace {

constexpr std::size_t kChunk = std::size_t{16} << 20;  // bytes read or written at once
constexpr int kChunksUnsynced = 4;

template <typename Container>
Container read_whole(const std::filesystem::path& path, std::uint64_t limit) {
  // Opening a pipe that nobody writes to would wait for ever.
  const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!file.valid()) {
    fail(ExitCode::kInputMissing, "{}: cannot be opened: {}", path.string(), errno_text(errno));
  }
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) {
    fail(ExitCode::kInputOutput, "{}: cannot be examined: {}", path.string(), errno_text(errno));
  }
  if (!S_ISREG(status.st_mode)) {
    fail(ExitCode::kInputMissing, "{}: is not a regular file", path.string());
  }
  const auto size = static_cast<std::uint64_t>(status.st_size);
  if (size > limit) {
    fail(ExitCode::kBadData, "{}: has {} bytes, more than the {} allowed here", path.string(), size,
         limit);
  }
  Container content;
  content.resize(size);
  std::size_t have = 0;
  while (have < content.size()) {
    const ssize_t got =
        read_some(file.get(), std::as_writable_bytes(std::span(content)).subspan(have));
    if (got < 0) {
      fail(ExitCode::kInputOutput, "{}: cannot be read: {}", path.string(), errno_text(errno));
    }
    if (got == 0) {
      fail(ExitCode::kInputOutput, "{}: ended after {} of {} bytes", path.string(), have, size);
    }
    have += static_cast<std::size_t>(got);
  }
  return content;
}

// flags: how open(2) is to treat what is there.
void write_durably(const std::filesystem::path& path, int flags, std::span<const std::byte> bytes,
                   const std::function<void()>& progress) {
  FileDescriptor file(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0644));
  if (!file.valid()) {
    fail(creation_failure(errno), "{}: cannot be created: {}", path.string(), errno_text(errno));
  }
  const auto sync = [&](int result) {
    if (result != 0) {
      fail(ExitCode::kInputOutput, "{}: cannot be made durable: {}", path.string(),
           errno_text(errno));
    }
    if (progress) progress();
  };
  for (int chunks = 1; !bytes.empty(); ++chunks) {
    const auto chunk = bytes.first(std::min(bytes.size(), kChunk));
    write_all(file.get(), chunk, path);
    bytes = bytes.subspan(chunk.size());
    if (progress) progress();
    if (chunks % kChunksUnsynced == 0 && !bytes.empty()) sync(::fdatasync(file.get()));
  }
  sync(::fsync(file.get()));
  if (::close(file.release()) != 0) {
    fail(ExitCode::kInputOutput, "{}: cannot be closed: {}", path.string(), errno_text(errno));
  }
}

}  // namespace

bool is_file_at(int fd, const std::filesystem::path& path) {
  struct stat opened {};
  struct stat named {};
  if (::fstat(fd, &opened) == 0) {
    if (::lstat(path.c_str(), &named) == 0) {
      return opened.st_dev == named.st_dev && opened.st_ino == named.st_ino;
    }
    if (errno == ENOENT || errno == ENOTDIR) return false;
  }
  fail(ExitCode::kInputOutput, "{}: cannot be examined: {}", path.string(), errno_text(errno));
}

ExitCode creation_failure(int error_number) {
  return error_number == ENOSPC || error_number == EDQUOT ? ExitCode::kInputOutput
                                                          : ExitCode::kCannotCreate;
}

FileDescriptor::~FileDescriptor() {
  if (fd_ >= 0) ::close(fd_);
}

FileDescriptor::FileDescriptor(FileDescriptor&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)) {}

FileDescriptor& FileDescriptor::operator=(FileDescriptor&& other) noexcept {
  if (this != &other) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = std::exchange(other.fd_, -1);
  }
  return *this;
}

ssize_t read_some(int fd, std::span<std::byte> bytes) {
  while (true) {
    const ssize_t got = ::read(fd, bytes.data(), std::min(bytes.size(), kChunk));
    if (got >= 0 || errno != EINTR) return got;
  }
}

std::vector<std::byte> read_file(const std::filesystem::path& path, std::uint64_t limit) {
  return read_whole<std::vector<std::byte>>(path, limit);
}

std::string read_text_file(const std::filesystem::path& path, std::uint64_t limit) {
  return read_whole<std::string>(path, limit);
}

void write_all(int fd, std::span<const std::byte> bytes, const std::filesystem::path& path) {
  while (!bytes.empty()) {
    const std::size_t chunk = std::min<std::size_t>(bytes.size(), std::size_t{1} << 30);
    const ssize_t written = ::write(fd, bytes.data(), chunk);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) {
      fail(ExitCode::kInputOutput, "{}: cannot be written: {}", path.string(), errno_text(errno));
    }
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
}

void write_file_durably(const std::filesystem::path& path, std::span<const std::byte> bytes) {
  write_durably(path, O_TRUNC, bytes, {});
}

void write_new_file_durably(const std::filesystem::path& path, std::span<const std::byte> bytes,
                            const std::function<void()>& progress) {
  write_durably(path, O_EXCL, bytes, progress);
}

void fsync_directory(const std::filesystem::path& directory) {
  const FileDescriptor file(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!file.valid()) {
    fail(ExitCode::kInputOutput, "{}: cannot be opened: {}", directory.string(), errno_text(errno));
  }
  if (::fsync(file.get()) != 0) {
    fail(ExitCode::kInputOutput, "{}: cannot be made durable: {}", directory.string(),
         errno_text(errno));
  }
}

void replace_file(const std::filesystem::path& path, std::string_view content,
                  const std::function<void()>& progress) {
  std::filesystem::path temporary = path;
  temporary += ".tmp";
  std::error_code ignored;
  const auto type = std::filesystem::status(path, ignored).type();
  using Type = std::filesystem::file_type;
  if (type == Type::character || type == Type::block || type == Type::fifo ||
      type == Type::socket) {
    // root could: the machine would have a file for a device.
    fail(ExitCode::kCannotCreate, "{}: is not a regular file, and is not replaced", path.string());
  }
  try {
    write_durably(temporary, O_TRUNC | O_NOFOLLOW, std::as_bytes(std::span(content)), progress);
    if (::rename(temporary.c_str(), path.c_str()) != 0) {
      fail(ExitCode::kInputOutput, "{}: cannot be replaced: {}", path.string(), errno_text(errno));
    }
  } catch (...) {
    ::unlink(temporary.c_str());
    throw;
  }
  fsync_directory(path.has_parent_path() ? path.parent_path() : std::filesystem::path("."));
}

void create_directories(const std::filesystem::path& directory) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) {
    fail(ExitCode::kCannotCreate, "{}: cannot be created: {}", directory.string(), error.message());
  }
}

}  // namespace lockstep
