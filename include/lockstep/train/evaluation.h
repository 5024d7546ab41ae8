// Predictions of a dataset, shared among the ranks, and the metrics made of them.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "lockstep/comm/world.h"
#include "lockstep/data/dataset.h"
#include "lockstep/model/compute_device.h"
#include "lockstep/model/network.h"

namespace lockstep {

/// Metrics of a classified dataset. Row of `confusion`: the label; column: the prediction.
struct Evaluation {
  std::int64_t samples = 0;
  double loss = 0;      ///< mean cross-entropy in nats
  double accuracy = 0;  ///< share of correct predictions, [0, 1]
  std::vector<std::int64_t> class_samples;
  std::vector<double> class_accuracy;  ///< 0 for a class without samples
  std::vector<std::vector<std::int64_t>> confusion;
};

/// From logits [n, classes] and the labels of the n samples, in the order given: cross-entropy and
/// all sums in double, the prediction being the first largest logit. Bits depend on nothing else.
Evaluation summarise(std::span<const float> logits, std::span<const std::uint8_t> labels,
                     std::int64_t classes);

/// Computes logits in fixed chunks, so that neither the world size nor the mode changes a bit.
/// The referenced objects must outlive it. Not thread-safe.
class Evaluator {
 public:
  /// chunk: samples of one forward pass, >= 1. root_only: rank 0 computes everything itself.
  Evaluator(World& world, const ComputeDevice& device, Network& network, std::int64_t chunk,
            bool root_only);

  /// Collective. On the root: logits [indices.size(), classes] in the order of `indices`; elsewhere
  /// empty. The network's current weights are used; all ranks must hold the same. `before_chunk` is
  /// called before each forward pass of this rank; it may throw.
  std::vector<float> logits(const Dataset& dataset, std::span<const std::uint32_t> indices,
                            const std::function<void()>& before_chunk = {});

 private:
  std::vector<float> chunk_logits(const Dataset& dataset, std::span<const std::uint32_t> indices);

  World& world_;
  ComputeDevice device_;
  Network& network_;
  std::int64_t chunk_;
  bool root_only_;
};

/// Labels of the samples at `indices`.
std::vector<std::uint8_t> labels_at(const Dataset& dataset, std::span<const std::uint32_t> indices);
/// 0, 1, ..., count-1.
std::vector<std::uint32_t> all_indices(const Dataset& dataset);

}  // namespace lockstep
