// One checkpoint directory: writing it, and reading it back through its manifest.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>

#include "lockstep/checkpoint/store.h"

namespace lockstep::internal {

/// Makes `directory` (which must not exist) and fills it durably, MANIFEST.json last. Its entry in
/// the parent is not yet durable. On failure the directory stays as far as it got.
void write_checkpoint(const std::filesystem::path& directory, std::int64_t global_step,
                      std::span<const CheckpointFile> files, const std::function<void()>& progress);

/// Whether the manifest is sound and of that step and every file has its size: what a look without
/// reading the files can tell. Never throws for what it finds on disk.
bool looks_complete(const std::filesystem::path& directory, std::int64_t global_step);

}  // namespace lockstep::internal
