#include "checkpoint/directory.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <utility>

#include "lockstep/base/error.h"
#include "lockstep/base/file.h"
#include "lockstep/base/hash.h"
#include "lockstep/checkpoint/manifest.h"

namespace lockstep {

namespace {

constexpr std::size_t kChunk = std::size_t{16} << 20;  // bytes hashed between two calls of progress

std::string hash(std::span<const std::byte> bytes, const std::function<void()>& progress) {
  Sha256 hasher;
  while (!bytes.empty()) {
    const auto chunk = bytes.first(std::min(bytes.size(), kChunk));
    hasher.update(chunk);
    bytes = bytes.subspan(chunk.size());
    progress();
  }
  return to_hex(hasher.finish());
}

// What tells of the checkpoint and not of this process or of a server that is away for a moment:
// only that may make it count as damaged.
ExitCode code_of_opening(int error_number) {
  switch (error_number) {
    case ENOENT:
    case ENOTDIR:
    case ELOOP:
    case ENXIO:  // a socket
      return ExitCode::kBadData;
    default:
      return ExitCode::kInputOutput;
  }
}

// A checkpoint directory held open, so that what is read belongs together even if it is renamed
// meanwhile.
class OpenCheckpoint {
 public:
  OpenCheckpoint(const std::filesystem::path& path, std::function<void()> progress)
      : path_(path),
        progress_(progress ? std::move(progress) : [] {}),
        directory_(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
    if (!directory_.valid()) {
      fail(code_of_opening(errno) == ExitCode::kBadData ? ExitCode::kInputMissing
                                                        : ExitCode::kInputOutput,
           "{}: cannot be opened as a checkpoint directory: {}", path.string(), errno_text(errno));
    }
  }

  Manifest manifest() const {
    const std::string name(kManifestName);
    auto [file, size] = open_file(name);
    if (size > kManifestLimit) {
      fail(ExitCode::kBadData, "{}: has {} bytes; at most {} are allowed", (path_ / name).string(),
           size, kManifestLimit);
    }
    std::string text(size, '\0');
    read(file, std::as_writable_bytes(std::span(text)), name);
    return parse_manifest(text, (path_ / name).string());
  }

  void check_sizes(const Manifest& manifest) const {
    for (const ManifestEntry& entry : manifest.files) {
      open_file(entry);
      progress_();
    }
  }

  std::vector<std::byte> read_verified(const ManifestEntry& entry) const {
    const FileDescriptor file = open_file(entry);
    std::vector<std::byte> bytes = memory_for(entry);
    read(file, bytes, entry.name);
    if (const std::string found = hash(bytes, progress_); found != entry.sha256) {
      fail(ExitCode::kBadData, "{}: its SHA-256 is {}, but the manifest says {}",
           (path_ / entry.name).string(), found, entry.sha256);
    }
    return bytes;
  }

 private:
  // Only a regular file in this very directory: no link is followed, and a FIFO cannot make us
  // wait.
  std::pair<FileDescriptor, std::uint64_t> open_file(const std::string& name) const {
    FileDescriptor file(
        ::openat(directory_.get(), name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    if (!file.valid()) {
      const int error = errno;
      const bool damaged = code_of_opening(error) == ExitCode::kBadData;
      fail(code_of_opening(error), "{}: cannot be opened{}: {}", (path_ / name).string(),
           damaged ? ", so the checkpoint is incomplete" : "",
           error == ELOOP ? std::string("is a symbolic link") : errno_text(error));
    }
    struct stat status {};
    if (::fstat(file.get(), &status) != 0) {
      fail(ExitCode::kInputOutput, "{}: cannot be examined: {}", (path_ / name).string(),
           errno_text(errno));
    }
    if (!S_ISREG(status.st_mode)) {
      fail(ExitCode::kBadData, "{}: is not a regular file", (path_ / name).string());
    }
    return {std::move(file), static_cast<std::uint64_t>(status.st_size)};
  }

  FileDescriptor open_file(const ManifestEntry& entry) const {
    auto [file, size] = open_file(entry.name);
    if (size != entry.size) {
      fail(ExitCode::kBadData, "{}: has {} bytes, but the manifest says {}",
           (path_ / entry.name).string(), size, entry.size);
    }
    return std::move(file);
  }

  // The file has that size, but may be sparse. No damage: another machine may have the memory.
  std::vector<std::byte> memory_for(const ManifestEntry& entry) const {
    try {
      return std::vector<std::byte>(entry.size);
    } catch (const std::exception&) {
      fail(ExitCode::kInputOutput, "{}: its {} bytes do not fit into memory",
           (path_ / entry.name).string(), entry.size);
    }
  }

  void read(const FileDescriptor& file, std::span<std::byte> bytes, const std::string& name) const {
    while (!bytes.empty()) {
      const ssize_t got = read_some(file.get(), bytes);
      if (got < 0) {
        // A sector that cannot be read any more is damage.
        fail(errno == EIO ? ExitCode::kBadData : ExitCode::kInputOutput, "{}: cannot be read: {}",
             (path_ / name).string(), errno_text(errno));
      }
      if (got == 0) {
        fail(ExitCode::kBadData, "{}: ended {} bytes early", (path_ / name).string(), bytes.size());
      }
      bytes = bytes.subspan(static_cast<std::size_t>(got));
      progress_();
    }
  }

  std::filesystem::path path_;
  std::function<void()> progress_;
  FileDescriptor directory_;
};

}  // namespace

CheckpointStore::Loaded load_checkpoint(const std::filesystem::path& directory,
                                        const std::function<void()>& progress) {
  const OpenCheckpoint checkpoint(directory, progress);
  const Manifest manifest = checkpoint.manifest();
  CheckpointStore::Loaded loaded{directory, manifest.global_step, {}};
  // All sizes before the first byte is read: a truncated file is found without hashing its
  // neighbours.
  checkpoint.check_sizes(manifest);
  for (const ManifestEntry& entry : manifest.files) {
    loaded.files.emplace(entry.name, checkpoint.read_verified(entry));
  }
  return loaded;
}

namespace internal {

void write_checkpoint(const std::filesystem::path& directory, std::int64_t global_step,
                      std::span<const CheckpointFile> files,
                      const std::function<void()>& progress) {
  // First of all: encoding the manifest checks the names, which are about to become paths.
  Manifest manifest{global_step, {}};
  for (const CheckpointFile& file : files) {
    manifest.files.push_back({file.name, file.bytes.size(), hash(file.bytes, progress)});
  }
  const std::string text = encode_manifest(std::move(manifest));

  if (::mkdir(directory.c_str(), 0755) != 0) {
    fail(creation_failure(errno), "{}: cannot be created: {}", directory.string(),
         errno_text(errno));
  }
  progress();
  for (const CheckpointFile& file : files) {
    write_new_file_durably(directory / file.name, file.bytes, progress);
  }
  write_new_file_durably(directory / kManifestName, std::as_bytes(std::span(text)), progress);
  fsync_directory(directory);
  progress();
}

bool looks_complete(const std::filesystem::path& directory, std::int64_t global_step) {
  try {
    const OpenCheckpoint checkpoint(directory, {});
    const Manifest manifest = checkpoint.manifest();
    checkpoint.check_sizes(manifest);
    return manifest.global_step == global_step;
  } catch (const Error&) {
    return false;
  }
}

}  // namespace internal

}  // namespace lockstep
