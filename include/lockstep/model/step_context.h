// What a network is told about the batch it computes, so that all its randomness is a pure function
// of (seed, epoch, sample) and never of the rank or the batch.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace lockstep {

struct StepContext {
  bool training = false;   ///< false: no randomness, no side effects
  std::uint64_t seed = 0;  ///< of the run
  std::uint32_t epoch = 0;
  std::int64_t step = 0;  ///< global step
  int shard = 0;          ///< which shard of the global batch this is
  int piece = 0;          ///< which piece of the shard, where it is computed in several
  /// int64 [B] on the network's device: the samples' indices in the dataset; undefined unless
  /// training.
  at::Tensor samples{};
  /// int64 [1] beside them: the epoch, for steps that are recorded and replayed in other epochs,
  /// where `epoch` stays that of the recording. Undefined elsewhere.
  at::Tensor epoch_on_device{};
};

}  // namespace lockstep
