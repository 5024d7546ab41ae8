// Which checkpoint a path on the command line means.
#pragma once

#include <filesystem>
#include <optional>

namespace lockstep {

/// Whether a directory has a checkpoint's manifest, or what a damaged one has left.
bool looks_like_checkpoint(const std::filesystem::path& directory);

/// The directory of checkpoints that a run directory has, or that `given` itself is, by the names
/// in it; none when it is neither. Throws as has_store, or Error{kInputOutput} when it cannot be
/// listed.
std::optional<std::filesystem::path> find_store(const std::filesystem::path& given);

/// The checkpoint directory that is meant, for commands that only read: a run directory or its
/// checkpoints stand for the best one, or the newest where none is named the best; what is neither
/// is returned as it is. A best one that is not whole is a warning. Throws as find_store, or
/// Error{kInputMissing} for a run without any.
std::filesystem::path checkpoint_directory(const std::filesystem::path& given);

}  // namespace lockstep
