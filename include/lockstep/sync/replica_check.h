// Proof that all ranks hold the same weights, and whatever else must be the same everywhere.
#pragma once

#include <ATen/core/Tensor.h>

#include <span>
#include <string>
#include <vector>

#include "lockstep/comm/world.h"
#include "lockstep/model/flat_parameters.h"

namespace lockstep {

/// One flat float32 buffer of which every rank has a replica.
struct Replica {
  std::string what;    ///< "weights", "optimizer state": for messages
  std::string prefix;  ///< what stands before a view's name in messages: "", "square_average."
  at::Tensor values;   ///< at least as long as the views reach
  /// How it is laid out; null: as the views that check_replicas is given.
  const std::vector<FlatView>* views = nullptr;
};

/// Compares the SHA-256 of every rank's replicas; all ranks call it, with as many replicas in the
/// same order. When they differ, every rank throws AgreedError{kDiverged} naming the ranks that
/// differ from the majority (from rank 0 in a tie), the tensors, and the first element with both
/// values. `moment` says when: "step 120".
void check_replicas(World& world, const std::vector<FlatParameters::View>& views,
                    std::span<const Replica> replicas, const std::string& moment);

}  // namespace lockstep
