#include "lockstep/data/dataset_facts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "files.h"

namespace lockstep {
namespace {

using data_test::csv;
using data_test::expect_error;
using data_test::idx_images;
using data_test::idx_labels;
using data_test::make_dataset;
using data_test::same_data;
using data_test::TemporaryDirectory;
using data_test::write;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(PixelStatistics, AreThoseOfAllPixels) {
  for (const std::uint64_t seed : {1u, 2u, 3u}) {
    Dataset d = make_dataset(50, 1, 7, 5, seed);
    std::fill_n(d.pixels.begin() + 35 * 3, 35, std::uint8_t{0});
    std::fill_n(d.pixels.begin() + 35 * 40, 35, std::uint8_t{9});
    double sum = 0, squares = 0, zeros = 0;
    for (const double v : d.pixels) {
      sum += v;
      squares += v * v;
      zeros += v == 0 ? 1 : 0;
    }
    const auto all = static_cast<double>(d.pixels.size());
    const PixelStatistics found = pixel_statistics(d);
    EXPECT_NEAR(found.mean, sum / all, 1e-9);
    EXPECT_NEAR(found.standard_deviation, std::sqrt(squares / all - sum / all * sum / all), 1e-9);
    EXPECT_EQ(found.share_of_zeros, zeros / all);
    EXPECT_EQ(found.smallest, *std::ranges::min_element(d.pixels));
    EXPECT_EQ(found.largest, *std::ranges::max_element(d.pixels));
    EXPECT_THAT(found.plain_images, ElementsAre(3, 40));
    for (int value = 0; value < 256; ++value) {
      EXPECT_EQ(found.histogram[static_cast<std::size_t>(value)],
                std::ranges::count(d.pixels, value));
    }
  }
}

TEST(ImageIndex, FindsWhatComparingAllImagesFinds) {
  std::mt19937 random(1);
  for (int round = 0; round < 50; ++round) {
    // Few values, so that some images are equal.
    Dataset d = make_dataset(30, 1, 1, 3);
    Dataset other = make_dataset(20, 1, 1, 3);
    for (auto* pixels : {&d.pixels, &other.pixels}) {
      for (std::uint8_t& v : *pixels) v = static_cast<std::uint8_t>(random() % 4);
    }
    const auto image = [](const Dataset& of, std::size_t i) {
      return std::vector<std::uint8_t>(of.pixels.begin() + static_cast<std::ptrdiff_t>(3 * i),
                                       of.pixels.begin() + static_cast<std::ptrdiff_t>(3 * i + 3));
    };
    const auto first = [&](const std::vector<std::uint8_t>& pixels) {
      std::size_t i = 0;
      while (i < 30 && image(d, i) != pixels) ++i;
      return static_cast<std::uint32_t>(i);
    };
    std::vector<Duplicate> repeated, found;
    for (std::uint32_t i = 0; i < 30; ++i) {
      if (first(image(d, i)) < i) repeated.push_back({i, first(image(d, i))});
    }
    for (std::uint32_t i = 0; i < 20; ++i) {
      if (first(image(other, i)) < 30) found.push_back({i, first(image(other, i))});
    }
    const ImageIndex index(d);
    EXPECT_EQ(index.repeated(), repeated);
    EXPECT_EQ(index.find(other), found);
    other.height = 3;
    other.width = 1;
    EXPECT_THAT(index.find(other), IsEmpty());
  }
}

std::vector<std::size_t> chosen(std::mt19937& random, std::size_t count) {
  std::vector<std::size_t> result;
  for (std::size_t i = 0; i < count; ++i) {
    if (random() % 3 == 0) result.push_back(i);
  }
  return result;
}

Dataset without(const Dataset& d, const std::vector<std::size_t>& left_out) {
  Dataset result = d;
  result.pixels.clear();
  result.labels.clear();
  const auto size = d.image_size();
  for (std::int64_t i = 0; i < d.count; ++i) {
    if (std::ranges::count(left_out, static_cast<std::size_t>(i)) > 0) continue;
    result.pixels.insert(result.pixels.end(), d.pixels.begin() + i * size,
                         d.pixels.begin() + (i + 1) * size);
    result.labels.push_back(d.labels[static_cast<std::size_t>(i)]);
  }
  result.count = static_cast<std::int64_t>(result.labels.size());
  return result;
}

TEST(LoadUndamaged, LeavesOutWhatIsDamagedAndNamesIt) {
  const TemporaryDirectory directory;
  const auto file = directory / "images.csv";
  std::mt19937 random(1);
  const char* const rows[] = {"",
                              "label,pixel0",
                              "1,2,3",
                              "12,1,2,3,4,5,6,7,8,9",
                              "1,,2,3,4,5,6,7,8,9",
                              "1,2,3,4,5,6,7,8,9,256",
                              "1,2,3,4,5,6,7,8,9,1,1"};
  for (int round = 0; round < 40; ++round) {
    const Dataset d = make_dataset(12, 1, 3, 3, static_cast<std::uint64_t>(round) + 1);
    const bool header = round % 2 == 0;
    std::vector<std::string> lines;
    std::string text = csv(d, header);
    for (std::size_t at = 0, end; (end = text.find('\n', at)) != std::string::npos; at = end + 1) {
      lines.push_back(text.substr(at, end - at));
    }
    // The first row says what the others are.
    std::vector<std::size_t> bad = chosen(random, 12);
    std::erase(bad, 0u);
    for (const std::size_t i : bad) lines[i + (header ? 1 : 0)] = rows[random() % std::size(rows)];
    text.clear();
    for (const std::string& line : lines) text += line + "\n";
    write(file, text);
    std::vector<std::string> messages;
    const Dataset found = load_undamaged(
        file, Part::kTraining, [&](const std::string& message) { messages.push_back(message); });
    EXPECT_TRUE(same_data(found, without(d, bad)));
    ASSERT_EQ(messages.size(), bad.size());
    for (std::size_t i = 0; i < bad.size(); ++i) {
      EXPECT_THAT(messages[i],
                  HasSubstr(fmt::format("{}: line {}", file.string(), bad[i] + (header ? 2 : 1))));
    }
    if (!bad.empty()) {
      // What it names first is what load_dataset says.
      expect_error(ExitCode::kBadData, messages[0],
                   [&] { load_dataset(file, Part::kTraining, Labels::kOptional); });
    }
  }
}

TEST(LoadUndamaged, LeavesOutImagesWithWrongLabels) {
  std::mt19937 random(2);
  for (int round = 0; round < 40; ++round) {
    const TemporaryDirectory directory;
    const Dataset d = make_dataset(12, 1, 3, 3, static_cast<std::uint64_t>(round) + 1);
    std::string labels = idx_labels(d);
    std::vector<std::size_t> bad = chosen(random, 12);
    std::erase(bad, 5u);
    for (const std::size_t i : bad) labels[8 + i] = static_cast<char>(10 + random() % 246);
    write(directory / "t10k-images-idx3-ubyte", idx_images(d));
    write(directory / "t10k-labels-idx1-ubyte", labels);
    EXPECT_TRUE(has_part(directory.path(), Part::kTest));
    EXPECT_FALSE(has_part(directory.path(), Part::kTraining));
    std::size_t messages = 0;
    const Dataset found =
        load_undamaged(directory.path(), Part::kTest, [&](const std::string& message) {
          EXPECT_THAT(message, HasSubstr(fmt::format("(sample {})", bad[messages])));
          ++messages;
        });
    EXPECT_EQ(messages, bad.size());
    EXPECT_TRUE(same_data(found, without(d, bad)));
  }
}

TEST(LoadUndamaged, RefusesWhereNothingIsLeft) {
  const TemporaryDirectory directory;
  const auto none = [](const std::string&) {};
  write(directory / "a.csv", "label,pixel0\n12,1\n");
  expect_error(ExitCode::kBadData, HasSubstr("no image after the header"),
               [&] { load_undamaged(directory / "a.csv", Part::kTraining, none); });
  const Dataset d = make_dataset(3, 1, 3, 3);
  std::string labels = idx_labels(d);
  labels.replace(8, 3, "\x10\x11\x12");
  write(directory / "train-images-idx3-ubyte", idx_images(d));
  write(directory / "train-labels-idx1-ubyte", labels);
  expect_error(ExitCode::kBadData, HasSubstr("no label"),
               [&] { load_undamaged(directory.path(), Part::kTraining, none); });
}

}  // namespace
}  // namespace lockstep
