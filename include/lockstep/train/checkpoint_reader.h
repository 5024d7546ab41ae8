// A checkpoint for those who only read: evaluation, prediction, reports.
#pragma once

#include <filesystem>
#include <string>

#include "lockstep/checkpoint/store.h"
#include "lockstep/model/flat_parameters.h"
#include "lockstep/train/training_state.h"

namespace lockstep {

/// state.json of a checkpoint in memory. Throws Error{kBadData}.
TrainingState read_state(const CheckpointStore::Loaded& loaded);

class CheckpointReader {
 public:
  /// Reads and verifies all of it. Throws Error{kInputMissing | kBadData}.
  explicit CheckpointReader(const std::filesystem::path& directory);

  const TrainingState& state() const { return state_; }
  /// Of the weights that evaluation uses: tells whether ranks read the same.
  std::string sha256() const;
  /// Fills a network's weights: the averaged ones where the checkpoint has them. Throws
  /// Error{kBadData} when they are of another network.
  void read_evaluation_weights(FlatParameters& parameters) const;

 private:
  CheckpointStore::Loaded loaded_;
  TrainingState state_;
};

}  // namespace lockstep
