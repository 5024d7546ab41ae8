// From stored pixels to the network's input.
#pragma once

#include <cstdint>
#include <span>

#include "lockstep/data/augmentation.h"
#include "lockstep/data/dataset.h"

namespace lockstep {

/// Makes batches out of one dataset, to which it keeps a reference. Immutable, thread-safe.
class BatchMaker {
 public:
  /// `seed` keys the augmentation.
  BatchMaker(const Dataset& dataset, const AugmentationOptions& augmentation, std::uint64_t seed);

  /// Writes images [B, C, H, W], B = indices.size(), each pixel its stored value / 255, and labels
  /// [B]. With `augment` each image is warped as draw_affine says for (seed, epoch, index): one
  /// image has the same bits in whatever batch. `labels` may be null and must be for an unlabelled
  /// dataset. Indices are the dataset's, and are checked. Takes no memory for images of up to 4,096
  /// floats, for larger ones once a call.
  void fill(std::span<const std::uint32_t> indices, std::uint32_t epoch, bool augment,
            float* images, std::int64_t* labels) const;

 private:
  const Dataset& dataset_;
  AugmentationOptions augmentation_;
  std::uint64_t seed_;
};

}  // namespace lockstep
