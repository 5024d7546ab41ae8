// The registered buffers of a module: running means, counters, constants.
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>

#include <cstdint>
#include <string>
#include <vector>

#include "lockstep/model/flat_view.h"

namespace lockstep {

/// Keeps the buffers equal on all ranks while training changes them, as batch normalisation does.
/// Every shard of a step begins with the same values. What a shard's forward changes is its part of
/// a sum over all shards, which travels with the gradients and is therefore summed in their order:
///
///   floating point   value + sum over shards of (samples of the shard / samples of the step) *
///                    (its value - value): the mean of the shards' values by samples
///   whole numbers    value + the change made by the step's first shard
///
/// A piece of a shard that is computed in pieces counts as a shard here. What no shard changes
/// keeps its bits. Keeps the module's buffers alive; move-only.
class ModuleBuffers {
 public:
  /// All buffers of the module, on the device they are on. Throws Error{kUsage} naming one that is
  /// neither float32 nor whole numbers (int64, int32, uint8, bool), or not contiguous.
  explicit ModuleBuffers(const torch::nn::Module& module);
  ModuleBuffers(ModuleBuffers&&) = default;
  ModuleBuffers& operator=(ModuleBuffers&&) = default;
  ModuleBuffers(const ModuleBuffers&) = delete;
  ModuleBuffers& operator=(const ModuleBuffers&) = delete;

  bool empty() const { return buffers_.empty(); }
  /// Floats that the changes of one step take.
  std::int64_t change_count() const { return change_count_; }

  /// Between a shard's forward and its backward, during which the changes may already travel: adds
  /// the shard's part to `changes` [change_count()]. `share`: samples of the shard / samples of the
  /// step; `first`: it is the step's first shard. After backward: restore().
  void take_changes(const at::Tensor& changes, double share, bool first) const;
  /// Adds the sum of all shards' parts to the values. Throws Error{kUsage} naming a whole number
  /// that changed by 2^24 or more: float32 would not carry it exactly.
  void apply(const at::Tensor& changes);

  /// The bits of all values as one float32 buffer, for comparison and copies; views() says where
  /// which lies. After writing to it: restore().
  const at::Tensor& values() const { return values_; }
  const std::vector<FlatView>& views() const { return views_; }
  /// Gives the module the values.
  void restore() const;

  /// A buffer's values, a part of values() in its own type and shape.
  struct Named {
    std::string name;
    at::Tensor value;
  };
  std::vector<Named> named() const;

 private:
  struct Buffer {
    at::Tensor own;    // the module's
    at::Tensor value;  // between shards
    std::int64_t change = 0;
  };
  at::Tensor part_of(const at::Tensor& changes, const Buffer& buffer) const;

  std::vector<Buffer> buffers_;
  std::vector<FlatView> views_;
  at::Tensor values_;
  std::int64_t change_count_ = 0;
};

}  // namespace lockstep
