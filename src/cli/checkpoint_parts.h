// What writing and reading a checkpoint is made of, piece by piece.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "lockstep/checkpoint/store.h"

namespace lockstep {

struct CheckpointPart {
  std::string name;             ///< encode, hash, write, fsync, save or read
  std::string meaning;          ///< for people
  std::vector<double> seconds;  ///< one a round
};

/// Encodes, hashes, writes and syncs the files of `loaded` anew in `directory`, then saves and
/// reads them as a whole. Leaves files there. `progress` is called at least once every 16 MiB that
/// are saved or read, and between any two pieces. Throws as CheckpointStore::save does.
std::vector<CheckpointPart> time_checkpoint_parts(const CheckpointStore::Loaded& loaded,
                                                  const std::filesystem::path& directory,
                                                  int rounds,
                                                  const std::function<void()>& progress);

}  // namespace lockstep
