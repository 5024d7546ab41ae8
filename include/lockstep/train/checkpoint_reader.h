// A checkpoint for those who only read: evaluation, prediction, reports.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "lockstep/checkpoint/store.h"
#include "lockstep/model/flat_parameters.h"
#include "lockstep/model/network.h"
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
  /// What the network takes. Older checkpoints do not say it: they are taken to be MNIST's, and
  /// read_evaluation_weights refuses them where they are not. Convolutions are those of the run,
  /// but "auto" for a run that insisted on fast ones.
  NetworkShape network_shape() const;
  /// The network that the checkpoint names, for `shape`, with weights of its own. Throws
  /// Error{kBadData} for one that is not known here, or so large that these cannot be its weights,
  /// and as check_convolution.
  std::shared_ptr<Network> make_network(const NetworkShape& shape) const;
  /// Fills a network's weights: the averaged ones where the checkpoint has them. Throws
  /// Error{kBadData} when they are of another network.
  void read_evaluation_weights(FlatParameters& parameters) const;

 private:
  const std::vector<std::byte>& evaluation_file() const;

  CheckpointStore::Loaded loaded_;
  TrainingState state_;
};

}  // namespace lockstep
