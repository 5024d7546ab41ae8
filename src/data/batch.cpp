#include "lockstep/data/batch.h"

#include <algorithm>
#include <array>
#include <memory>

#include "lockstep/base/error.h"

namespace lockstep {

namespace {

void scale(const std::uint8_t* pixels, std::size_t count, float* out) {
  for (std::size_t i = 0; i < count; ++i) out[i] = static_cast<float>(pixels[i]) / 255.0f;
}

}  // namespace

BatchMaker::BatchMaker(const Dataset& dataset, const AugmentationOptions& augmentation,
                       std::uint64_t seed)
    : dataset_(dataset), augmentation_(augmentation), seed_(seed) {}

void BatchMaker::fill(std::span<const std::uint32_t> indices, std::uint32_t epoch, bool augment,
                      float* images, std::int64_t* labels) const {
  LOCKSTEP_CHECK(labels == nullptr || dataset_.labelled(), "{} has no labels", dataset_.source);
  const auto size = static_cast<std::size_t>(dataset_.image_size());
  const bool warped = augment && augmentation_.enabled();
  const double height_over_width =
      static_cast<double>(dataset_.height) / static_cast<double>(dataset_.width);
  std::array<float, 4096> space;
  std::unique_ptr<float[]> more;
  if (warped && size > space.size()) more = std::make_unique_for_overwrite<float[]>(size);
  float* scaled = more ? more.get() : space.data();
  for (std::size_t i = 0; i < indices.size(); ++i) {
    const std::uint32_t index = indices[i];
    LOCKSTEP_CHECK(index < dataset_.count, "sample {} of {}", index, dataset_.count);
    const std::uint8_t* pixels = dataset_.pixels.data() + index * size;
    float* image = images + i * size;
    if (warped) {
      scale(pixels, size, scaled);
      warp(scaled, image, dataset_.channels, dataset_.height, dataset_.width,
           draw_affine(augmentation_, seed_, epoch, index, height_over_width));
    } else {
      scale(pixels, size, image);
    }
    if (labels != nullptr) labels[i] = dataset_.labels[index];
  }
}

}  // namespace lockstep
