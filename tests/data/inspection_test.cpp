#include "lockstep/data/inspection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "files.h"
#include "lockstep/data/split.h"

namespace lockstep {
namespace {

using data_test::csv;
using data_test::expect_error;
using data_test::make_dataset;
using data_test::TemporaryDirectory;
using data_test::write;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

std::filesystem::path place(const std::filesystem::path& path, const std::string& content) {
  write(path, content);
  return path;
}

// Few values, so that some are there twice.
Dataset some_images(std::int64_t count, std::uint64_t seed) {
  Dataset dataset = make_dataset(count, 1, 2, 2, seed);
  for (std::uint8_t& pixel : dataset.pixels) pixel = static_cast<std::uint8_t>(pixel % 3);
  return dataset;
}

bool same_pixels(const Dataset& a, std::size_t i, const Dataset& b, std::size_t j) {
  return std::equal(a.pixels.begin() + static_cast<std::ptrdiff_t>(4 * i),
                    a.pixels.begin() + static_cast<std::ptrdiff_t>(4 * i + 4),
                    b.pixels.begin() + static_cast<std::ptrdiff_t>(4 * j));
}

std::vector<std::int64_t> images_in(const std::vector<SameImages>& same) {
  std::vector<std::int64_t> images;
  for (const SameImages& s : same) images.push_back(s.image);
  return images;
}

TEST(Inspection, FindsWhatComparingAllImagesFinds) {
  const TemporaryDirectory directory;
  for (std::uint64_t round = 1; round <= 30; ++round) {
    const Dataset training = some_images(60, round), test = some_images(25, 100 + round);
    DataOptions options;
    options.validation_fraction = 0.1 * static_cast<double>(1 + round % 8);
    options.split_seed = round;
    options.data = place(directory / "training.csv", csv(training, false));
    options.test_data = place(directory / "test.csv", csv(test, false));
    const DataFacts facts = inspect_data(options);
    ASSERT_THAT(facts.parts, SizeIs(2));
    ASSERT_THAT(facts.overlaps, SizeIs(2));
    EXPECT_EQ(facts.code(), ExitCode::kDone);
    EXPECT_EQ(facts.parts[0].images.pixels, training.pixels);

    std::vector<bool> held_out(60);
    for (const std::uint32_t image : split_dataset(training, options).validation) {
      held_out[image] = true;
    }
    std::vector<std::int64_t> repeated, in_validation, in_test;
    for (std::size_t i = 0; i < 60; ++i) {
      bool earlier = false, trained = false;
      for (std::size_t j = 0; j < 60; ++j) {
        earlier = earlier || (j < i && same_pixels(training, i, training, j));
        trained = trained || (!held_out[j] && same_pixels(training, i, training, j));
      }
      if (earlier) repeated.push_back(static_cast<std::int64_t>(i) + 1);
      if (held_out[i] && trained) in_validation.push_back(static_cast<std::int64_t>(i) + 1);
    }
    for (std::size_t i = 0; i < 25; ++i) {
      bool trained = false;
      for (std::size_t j = 0; j < 60; ++j) {
        trained = trained || same_pixels(test, i, training, j);
      }
      if (trained) in_test.push_back(static_cast<std::int64_t>(i) + 1);
    }
    EXPECT_EQ(images_in(facts.parts[0].repeated), repeated);
    EXPECT_EQ(images_in(facts.overlaps[0].same), in_validation);
    EXPECT_EQ(images_in(facts.overlaps[1].same), in_test);
    EXPECT_EQ(facts.overlaps[0].count, std::ranges::count(held_out, true));
    EXPECT_EQ(facts.overlaps[1].count, 25);
    for (const Overlap& overlap : facts.overlaps) {
      const Dataset& images = overlap.part == "test" ? test : training;
      for (const SameImages& s : overlap.same) {
        const auto image = static_cast<std::size_t>(s.image - 1),
                   of = static_cast<std::size_t>(s.of - 1);
        EXPECT_TRUE(same_pixels(images, image, training, of));
        EXPECT_EQ(s.label, images.labels[image]);
        EXPECT_EQ(s.label_of, training.labels[of]);
        EXPECT_TRUE(overlap.part == "test" || (held_out[image] && !held_out[of]));
      }
    }
  }
}

TEST(Inspection, NamesWhatIsDamagedAndGoesOn) {
  const TemporaryDirectory directory;
  DataOptions options;
  options.data = place(directory / "rows.csv", "1,0,0,0,9\n2,0,0,0,256\n3,0,0,0,8\n");
  const DataFacts facts = inspect_data(options);
  EXPECT_EQ(facts.code(), ExitCode::kBadData);
  EXPECT_EQ(facts.parts[0].count, 2);
  EXPECT_THAT(facts.parts[0].damaged, ElementsAre(HasSubstr("line 2, column 5")));
  options.data = place(directory / "none.csv", "1,0,0,0,256\n");
  expect_error(ExitCode::kBadData, HasSubstr("no image; the first that is damaged: "),
               [&] { inspect_data(options); });
}

}  // namespace
}  // namespace lockstep
