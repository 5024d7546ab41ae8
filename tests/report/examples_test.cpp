#include "report/examples.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <random>

#include "lockstep/data/batch.h"

namespace lockstep::report {
namespace {

Dataset make(std::int64_t count, std::int64_t channels, std::int64_t height, std::int64_t width,
             std::uint64_t seed) {
  std::mt19937_64 random(seed);
  Dataset dataset{.count = count,
                  .channels = channels,
                  .height = height,
                  .width = width,
                  .pixels = {},
                  .labels = {},
                  .source = ""};
  dataset.pixels.resize(static_cast<std::size_t>(count * dataset.image_size()));
  for (auto& pixel : dataset.pixels) pixel = static_cast<std::uint8_t>(random());
  // Classes 0, 3, 6 and 9, unequally often.
  for (std::int64_t i = 0; i < count; ++i) {
    dataset.labels.push_back(
        static_cast<std::uint8_t>(3 * std::min<std::uint64_t>(3, random() % 7)));
  }
  return dataset;
}

TEST(Examples, AreOfTheirClassAndFromAllOfTheDataSet) {
  for (const std::int64_t count : {1, 8, 500}) {
    const Dataset dataset = make(count, 1, 2, 2, 7 + static_cast<std::uint64_t>(count));
    std::map<int, std::vector<std::uint32_t>> by_label;
    for (std::uint32_t i = 0; i < count; ++i) by_label[dataset.labels[i]].push_back(i);
    const auto all = choose_examples(dataset, 10);
    ASSERT_EQ(all.size(), by_label.size());
    for (const Examples& examples : all) {
      const auto& images = by_label.at(examples.label.value());
      EXPECT_EQ(examples.count, std::ssize(images));
      EXPECT_EQ(examples.images.size(), std::min<std::size_t>(10, images.size()));
      EXPECT_TRUE(std::ranges::is_sorted(examples.images, std::ranges::less_equal{}) ||
                  examples.images.size() == 1);
      for (const std::uint32_t image : examples.images) {
        EXPECT_EQ(dataset.labels[image], *examples.label);
      }
      EXPECT_EQ(examples.images.front(), images.front());
      EXPECT_GE(examples.images.back(), images[images.size() * 8 / 10]);
    }
  }
}

TEST(Examples, OfAnUnlabelledDataSetAreOneGroup) {
  Dataset dataset = make(30, 1, 2, 2, 1);
  dataset.labels.clear();
  const auto all = choose_examples(dataset, 5);
  ASSERT_EQ(all.size(), 1u);
  EXPECT_FALSE(all[0].label);
  EXPECT_THAT(all[0].images, testing::ElementsAre(0, 6, 12, 18, 24));
}

TEST(Examples, PicturesHaveTheStoredPixels) {
  for (const std::int64_t channels : {1, 3}) {
    const Dataset dataset = make(9, channels, 5, 7, 3);
    const std::vector<std::uint32_t> images{8, 2};
    const auto pictures = stored_pictures(dataset, images);
    ASSERT_EQ(pictures.size(), 2u);
    for (std::size_t i = 0; i < 2; ++i) {
      const auto size = static_cast<std::size_t>(dataset.image_size());
      EXPECT_EQ(pictures[i].pixels,
                picture_of_planes(std::span(dataset.pixels).subspan(images[i] * size, size),
                                  channels, 5, 7)
                    .pixels);
    }
  }
}

TEST(Examples, DistortedPicturesAreWhatTrainingSees) {
  const Dataset dataset = make(40, 1, 28, 28, 4);
  const AugmentationOptions augmentation{.rotation = 20, .zoom = 0.2, .shift_x = 0.1, .shift_y = 0};
  const std::vector<std::uint32_t> images{31, 7, 0};
  const auto pictures = distorted_pictures(dataset, images, augmentation, /*seed=*/11);
  for (std::size_t i = 0; i < images.size(); ++i) {
    // Alone: in training it is in another batch, with others.
    std::vector<float> seen(28 * 28);
    BatchMaker(dataset, augmentation, 11).fill({&images[i], 1}, 0, true, seen.data(), nullptr);
    for (std::size_t p = 0; p < seen.size(); ++p) {
      ASSERT_EQ(pictures[i].pixels[p], std::lround(255 * seen[p]));
    }
    EXPECT_NE(pictures[i].pixels, stored_pictures(dataset, images)[i].pixels);
  }
  const AugmentationOptions none{.rotation = 0, .zoom = 0, .shift_x = 0, .shift_y = 0};
  EXPECT_EQ(distorted_pictures(dataset, images, none, 11)[1].pixels,
            stored_pictures(dataset, images)[1].pixels);
}

TEST(Examples, LargeImagesAreReducedToMeans) {
  Dataset dataset = make(1, 3, 200, 97, 5);
  const Picture picture = stored_pictures(dataset, std::vector<std::uint32_t>{0})[0];
  ASSERT_EQ(picture.height, 40);  // 200 / 5
  ASSERT_EQ(picture.width, 19);
  for (std::size_t y = 0; y < 40; ++y) {
    for (std::size_t x = 0; x < 19; ++x) {
      for (std::size_t c = 0; c < 3; ++c) {
        double sum = 0;
        for (std::size_t i = 0; i < 25; ++i) {
          sum += dataset.pixels[c * 200 * 97 + (5 * y + i / 5) * 97 + 5 * x + i % 5];
        }
        ASSERT_NEAR(picture.pixels[3 * (19 * y + x) + c], sum / 25, 0.51);
      }
    }
  }
  // Longer than wide by so much that a mean of squares would leave nothing.
  dataset = make(1, 1, 1000, 2, 6);
  EXPECT_EQ(stored_pictures(dataset, std::vector<std::uint32_t>{0})[0].height, 1000);
}

}  // namespace
}  // namespace lockstep::report
