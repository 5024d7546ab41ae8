#include "checkpoint_parts.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <optional>
#include <utility>

#include "lockstep/base/clock.h"
#include "lockstep/base/file.h"
#include "lockstep/base/hash.h"
#include "lockstep/checkpoint/safetensors.h"

namespace lockstep {

namespace {

namespace fs = std::filesystem;

void encode_again(const std::vector<SafetensorsFile>& files) {
  for (const SafetensorsFile& file : files) {
    std::vector<TensorToWrite> tensors;
    for (const StoredTensor& tensor : file.tensors()) {
      tensors.push_back({.name = tensor.name,
                         .shape = tensor.shape,
                         .dtype = tensor.dtype,
                         .bytes = tensor.bytes});
    }
    (void)encode_safetensors(tensors, file.metadata());
  }
}

FileDescriptor create_file(const fs::path& path) {
  FileDescriptor file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
  if (!file.valid()) {
    fail(creation_failure(errno), "{}: cannot be created: {}", path.string(), errno_text(errno));
  }
  return file;
}

}  // namespace

std::vector<CheckpointPart> time_checkpoint_parts(const CheckpointStore::Loaded& loaded,
                                                  const fs::path& directory, int rounds,
                                                  const std::function<void()>& progress) {
  CheckpointPart encode{"encode", "tensors into safetensors files", {}};
  CheckpointPart hash{"hash", "SHA-256 of every file", {}};
  CheckpointPart write{"write", "into the page cache", {}};
  CheckpointPart sync{"fsync", "from there onto the disk", {}};
  CheckpointPart save{"save", "as a whole: hash, write, fsync, manifest, rename", {}};
  CheckpointPart read{"read", "and verify, from the page cache", {}};
  std::vector<SafetensorsFile> tensors;
  for (const auto& [name, bytes] : loaded.files) {
    if (name.ends_with(".safetensors")) tensors.push_back(SafetensorsFile::parse(bytes, name));
  }
  CheckpointStore store(directory / "store", {.keep = 1, .require_owned = {}});
  store.create();
  for (int round = 0; round < rounds; ++round) {
    Stopwatch watch;
    encode_again(tensors);
    encode.seconds.push_back(watch.lap());
    progress();
    watch.lap();
    for (const auto& [name, bytes] : loaded.files) (void)sha256(bytes);
    hash.seconds.push_back(watch.lap());
    progress();

    std::vector<FileDescriptor> open;
    watch.lap();
    for (const auto& [name, bytes] : loaded.files) {
      open.push_back(create_file(directory / name));
      write_all(open.back().get(), bytes, directory / name);
    }
    write.seconds.push_back(watch.lap());
    progress();
    watch.lap();
    for (const FileDescriptor& file : open) {
      if (::fsync(file.get()) != 0) {
        fail(ExitCode::kInputOutput, "{}: cannot be synced: {}", directory.string(),
             errno_text(errno));
      }
    }
    sync.seconds.push_back(watch.lap());
    open.clear();

    std::vector<CheckpointFile> files;
    for (const auto& [name, bytes] : loaded.files) files.push_back({name, bytes});
    watch.lap();
    const fs::path saved = store.save(round + 1, std::move(files), std::nullopt, progress);
    save.seconds.push_back(watch.lap());
    (void)load_checkpoint(saved, progress);
    read.seconds.push_back(watch.lap());
  }
  return {encode, hash, write, sync, save, read};
}

}  // namespace lockstep
