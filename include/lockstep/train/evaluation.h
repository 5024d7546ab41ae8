// Evaluation of a network on a set of samples, shared among the ranks.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "lockstep/comm/world.h"
#include "lockstep/model/compute_device.h"
#include "lockstep/model/model.h"
#include "lockstep/train/objective.h"
#include "lockstep/train/samples.h"

namespace lockstep {

/// Computes what an objective keeps of each sample in fixed chunks, so that neither the world size
/// nor the mode changes a bit. The referenced objects must outlive it. Not thread-safe.
class Evaluator {
 public:
  /// chunk: samples of one forward pass, >= 1. root_only: rank 0 computes everything itself.
  Evaluator(World& world, const ComputeDevice& device, Model model, std::int64_t chunk,
            bool root_only);

  /// Collective. On the root: Objective::evaluation_rows of all `samples`, in their order;
  /// elsewhere empty. The model's current weights are used; all ranks must hold the same. It is
  /// left in training mode. `before_chunk` is called before each forward pass of this rank; it may
  /// throw.
  std::vector<float> rows(const SampleSource& source, const Objective& objective,
                          std::span<const std::uint32_t> samples,
                          const std::function<void()>& before_chunk = {});

 private:
  std::vector<float> chunk_rows(const SampleSource& source, const Objective& objective,
                                std::span<const std::uint32_t> samples);

  World& world_;
  ComputeDevice device_;
  Model model_;
  std::int64_t chunk_;
  bool root_only_;
};

/// The targets of `samples`, in their order.
at::Tensor targets_at(const SampleSource& source, std::span<const std::uint32_t> samples);
/// How many of `samples` carry each of the labels 0 .. classes-1. The targets must be such labels.
std::vector<std::int64_t> class_counts(const SampleSource& source,
                                       std::span<const std::uint32_t> samples,
                                       std::int64_t classes);
/// 0, 1, ..., count-1.
std::vector<std::uint32_t> all_indices(std::int64_t count);

}  // namespace lockstep
