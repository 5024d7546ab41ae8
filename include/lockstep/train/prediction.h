// Probabilities of classes, by one network or the mean of several.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "lockstep/data/augmentation.h"
#include "lockstep/data/dataset.h"
#include "lockstep/model/compute_device.h"
#include "lockstep/model/network.h"

namespace lockstep {

struct ClassifierOptions {
  /// Distorted copies of each image that are classified besides the image itself, >= 0.
  std::int64_t augmented_copies = 0;
  /// How they are distorted.
  AugmentationOptions augmentation;
  /// Of their random numbers.
  std::uint64_t seed = 1;
};

/// An ensemble: the softmax of each network's logits for each image and each of its copies, all in
/// double, averaged. Keeps the networks alive. Not thread-safe.
class Classifier {
 public:
  /// At least one network; all take the same images and tell kClasses classes apart.
  Classifier(std::vector<std::shared_ptr<Network>> networks, const ComputeDevice& device,
             const ClassifierOptions& options);

  /// [images.count, kClasses], NaN where softmax gives none. Copy c (from 1) of an
  /// image undergoes draw_affine(augmentation, seed, epoch = c, sample = keys[i]). All images go
  /// through a network at once: the bits of a result depend on what else is in `images`, so that
  /// callers cut their data alike whatever the number of ranks.
  std::vector<double> probabilities(const Dataset& images, std::span<const std::uint64_t> keys);

 private:
  void add(const std::vector<float>& inputs, const Dataset& images, std::vector<double>& sums);

  std::vector<std::shared_ptr<Network>> networks_;
  ComputeDevice device_;
  ClassifierOptions options_;
};

}  // namespace lockstep
