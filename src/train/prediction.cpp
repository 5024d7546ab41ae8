#include "lockstep/train/prediction.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/from_blob.h>

#include <array>
#include <span>
#include <utility>

#include "lockstep/base/cast.h"
#include "lockstep/base/error.h"
#include "lockstep/data/batch.h"
#include "lockstep/records/mistakes.h"

namespace lockstep {

Classifier::Classifier(std::vector<std::shared_ptr<Network>> networks, const ComputeDevice& device,
                       const ClassifierOptions& options)
    : networks_(std::move(networks)), device_(device), options_(options) {
  LOCKSTEP_CHECK(!networks_.empty(), "a classifier without a network");
  LOCKSTEP_CHECK(options_.augmented_copies >= 0, "{} copies", options_.augmented_copies);
  for (const auto& network : networks_) network->eval();
}

std::vector<double> Classifier::probabilities(const Dataset& images,
                                              std::span<const std::uint64_t> keys) {
  const auto count = checked_cast<std::size_t>(images.count);
  LOCKSTEP_CHECK(keys.size() == count, "{} keys for {} images", keys.size(), count);
  std::vector<double> sums(count * kClasses);
  if (count == 0) return sums;
  const auto size = static_cast<std::size_t>(images.image_size());
  std::vector<std::uint32_t> indices(count);
  for (std::size_t i = 0; i < count; ++i) indices[i] = static_cast<std::uint32_t>(i);
  std::vector<float> plain(count * size);
  BatchMaker(images, AugmentationOptions{}, /*seed=*/0)
      .fill(indices, /*epoch=*/0, /*augment=*/false, plain.data(), nullptr);
  add(plain, images, sums);

  std::vector<float> copies(options_.augmented_copies > 0 ? plain.size() : 0);
  const double height_over_width =
      static_cast<double>(images.height) / static_cast<double>(images.width);
  for (std::int64_t copy = 1; copy <= options_.augmented_copies; ++copy) {
    for (std::size_t i = 0; i < count; ++i) {
      warp(plain.data() + i * size, copies.data() + i * size, images.channels, images.height,
           images.width,
           draw_affine(options_.augmentation, options_.seed, checked_cast<std::uint32_t>(copy),
                       keys[i], height_over_width));
    }
    add(copies, images, sums);
  }
  const auto parts =
      static_cast<double>(networks_.size()) * static_cast<double>(1 + options_.augmented_copies);
  for (double& sum : sums) sum /= parts;
  return sums;
}

void Classifier::add(const std::vector<float>& inputs, const Dataset& images,
                     std::vector<double>& sums) {
  const at::NoGradGuard no_grad;
  // from_blob takes no const pointer; nothing writes to it.
  const at::Tensor batch =
      at::from_blob(const_cast<float*>(inputs.data()),
                    {images.count, images.channels, images.height, images.width}, at::kFloat)
          .to(device_.device);
  for (const auto& network : networks_) {
    const at::Tensor logits = network->forward(batch, StepContext{}).to(at::kCPU).contiguous();
    LOCKSTEP_CHECK(logits.numel() == images.count * kClasses, "{} logits for {} images",
                   logits.numel(), images.count);
    const std::span all(logits.const_data_ptr<float>(), sums.size());
    std::array<double, kClasses> probabilities{};
    for (std::size_t i = 0; i < sums.size(); i += kClasses) {
      softmax(all.subspan(i, kClasses), probabilities);
      for (std::size_t c = 0; c < kClasses; ++c) sums[i + c] += probabilities[c];
    }
  }
}

}  // namespace lockstep
