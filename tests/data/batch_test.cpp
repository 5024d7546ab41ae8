#include "lockstep/data/batch.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "files.h"

namespace lockstep {
namespace {

using data_test::make_dataset;

struct Batch {
  std::vector<float> images;
  std::vector<std::int64_t> labels;
};

Batch fill(const BatchMaker& maker, const Dataset& dataset,
           const std::vector<std::uint32_t>& indices, std::uint32_t epoch, bool augment) {
  Batch batch;
  batch.images.assign(indices.size() * static_cast<std::size_t>(dataset.image_size()),
                      std::numeric_limits<float>::quiet_NaN());
  batch.labels.assign(indices.size(), -1);
  maker.fill(indices, epoch, augment, batch.images.data(), batch.labels.data());
  return batch;
}

std::vector<float> image_of(const Batch& batch, std::size_t i, std::int64_t size) {
  const auto begin = batch.images.begin() + static_cast<std::ptrdiff_t>(i) * size;
  return {begin, begin + size};
}

TEST(BatchMaker, WithoutAugmentationScalesExactly) {
  Dataset dataset = make_dataset(2, 3, 16, 16);
  for (std::size_t i = 0; i < 256; ++i) dataset.pixels[i] = static_cast<std::uint8_t>(i);
  const AugmentationOptions off{.rotation = 0, .zoom = 0, .shift_x = 0, .shift_y = 0};
  const std::vector<std::uint32_t> indices{1, 0, 1};
  for (const bool augment : {false, true}) {
    const BatchMaker maker(dataset, augment ? off : AugmentationOptions{}, 1);
    const Batch batch = fill(maker, dataset, indices, 0, augment);
    for (std::size_t n = 0; n < indices.size(); ++n) {
      EXPECT_EQ(batch.labels[n], dataset.labels[indices[n]]);
      for (std::size_t i = 0; i < 768; ++i) {
        ASSERT_EQ(batch.images[n * 768 + i],
                  static_cast<float>(dataset.pixels[indices[n] * 768 + i]) / 255.0f);
      }
    }
  }
}

TEST(BatchMaker, AnImageHasTheSameBitsInWhateverBatch) {
  const Dataset dataset = make_dataset(40, 3, 12, 9);
  const BatchMaker maker(dataset, {}, 5);
  std::vector<std::uint32_t> forward(40);
  for (std::uint32_t i = 0; i < 40; ++i) forward[i] = i;
  std::vector<std::uint32_t> backward(forward.rbegin(), forward.rend());
  const Batch a = fill(maker, dataset, forward, 3, true);
  const Batch b = fill(maker, dataset, backward, 3, true);
  for (std::uint32_t i = 0; i < 40; ++i) {
    const Batch alone = fill(BatchMaker(dataset, {}, 5), dataset, {i}, 3, true);
    EXPECT_EQ(image_of(a, i, dataset.image_size()), alone.images);
    EXPECT_EQ(image_of(b, 39 - i, dataset.image_size()), alone.images);
    EXPECT_EQ(a.labels[i], dataset.labels[i]);
  }
}

TEST(BatchMaker, EpochSeedAndSampleChangeAnImage) {
  Dataset dataset = make_dataset(2, 1, 28, 28);
  std::copy_n(dataset.pixels.begin(), 784, dataset.pixels.begin() + 784);
  const BatchMaker maker(dataset, {}, 5);
  const Batch reference = fill(maker, dataset, {0}, 3, true);
  EXPECT_NE(fill(maker, dataset, {0}, 4, true).images, reference.images);
  EXPECT_NE(fill(maker, dataset, {1}, 3, true).images, reference.images);
  EXPECT_NE(fill(BatchMaker(dataset, {}, 6), dataset, {0}, 3, true).images, reference.images);
  EXPECT_NE(fill(maker, dataset, {0}, 3, false).images, reference.images);
}

TEST(BatchMaker, AugmentedIsTheWarpOfTheScaled) {
  const Dataset dataset = make_dataset(5, 3, 10, 14);
  const AugmentationOptions options{.rotation = 30, .zoom = 0.2, .shift_x = 0.1, .shift_y = 0.3};
  const BatchMaker maker(dataset, options, 8);
  for (std::uint32_t i = 0; i < 5; ++i) {
    const Batch plain = fill(maker, dataset, {i}, 2, false);
    std::vector<float> expected(plain.images.size());
    warp(plain.images.data(), expected.data(), 3, 10, 14,
         draw_affine(options, 8, 2, i, 10.0 / 14.0));
    EXPECT_EQ(fill(maker, dataset, {i}, 2, true).images, expected);
  }
}

TEST(BatchMaker, EmptyBatchesAndMissingLabels) {
  Dataset dataset = make_dataset(3, 1, 4, 4);
  const BatchMaker labelled(dataset, {}, 1);
  EXPECT_NO_THROW(labelled.fill({}, 0, true, nullptr, nullptr));
  std::vector<float> images(16);
  std::int64_t label = 0;
  const std::vector<std::uint32_t> first{0};
  const std::vector<std::uint32_t> beyond{3};
  EXPECT_NO_THROW(labelled.fill(first, 0, true, images.data(), nullptr));
  EXPECT_THROW(labelled.fill(beyond, 0, true, images.data(), &label), Error);
  dataset.labels.clear();
  EXPECT_NO_THROW(labelled.fill(first, 0, true, images.data(), nullptr));
  EXPECT_THROW(labelled.fill(first, 0, true, images.data(), &label), Error);
}

}  // namespace
}  // namespace lockstep
