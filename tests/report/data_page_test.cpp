#include "lockstep/report/data_page.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "../checkpoint/temporary_directory.h"
#include "lockstep/base/file.h"
#include "report/charts.h"

namespace lockstep {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

class DataPageTest : public testing::Test {
 protected:
  // Images of 2 x 2 pixels that differ, behind these rows.
  DataFacts facts(const std::string& rows) {
    std::string csv = rows;
    for (int i = 0; i < 30; ++i) csv += fmt::format("{0},{0},{0},{0},{1}\n", i % 3, i);
    replace_file(directory_ / "a <b> & c.csv", csv);
    DataOptions options;
    options.data = directory_ / "a <b> & c.csv";
    return inspect_data(options);
  }
  DataPage page(const DataFacts& facts, const AugmentationOptions& augmentation = {}) {
    return make_data_page(facts,
                          {.augmentation = augmentation, .gnuplot = "/no/gnuplot", .progress = {}});
  }
  test::TemporaryDirectory directory_;
};

TEST_F(DataPageTest, HasItsSectionsAndSaysThatGnuplotIsMissing) {
  const DataPage made = page(facts(""));
  for (const char* id : {"frequencies", "pixels", "examples", "duplicates", "files"}) {
    EXPECT_THAT(made.html, HasSubstr("<section id=\"" + std::string(id) + "\""));
  }
  EXPECT_THAT(made.warnings, Contains(HasSubstr("/no/gnuplot is not installed")));
  EXPECT_THAT(made.html, HasSubstr("/no/gnuplot is not installed (Debian: gnuplot-nox)"));
  EXPECT_THAT(made.html, HasSubstr("<h1>a &lt;b&gt; &amp; c.csv</h1>"));
  EXPECT_THAT(made.html, HasSubstr("nothing is missing or damaged"));
  EXPECT_THAT(made.html, HasSubstr("alt=\"Stored image 1, class 0\""));
  EXPECT_THAT(made.html, HasSubstr("alt=\"Distorted image 1, class 0\""));
}

TEST_F(DataPageTest, NamesDamageAndDuplicates) {
  const DataPage made = page(facts("2,1,1,1,300\n5,9,9,9,9\n6,9,9,9,9\n"));
  EXPECT_THAT(made.html, HasSubstr("line 1, column 5: found &#39;300&#39;"));
  EXPECT_THAT(made.html, HasSubstr("<span class=\"state stopped\">damaged"));
  EXPECT_THAT(made.html, HasSubstr("image 2 is image 1, with another label: 6 and 5"));
}

TEST_F(DataPageTest, WithoutAugmentationHasNoDistortedImages) {
  const DataPage made = page(facts(""), {.rotation = 0, .zoom = 0, .shift_x = 0, .shift_y = 0});
  EXPECT_THAT(made.html, Not(HasSubstr("alt=\"Distorted")));
  EXPECT_THAT(made.html, HasSubstr("augmentation is off"));
}

TEST_F(DataPageTest, StaysSmallForLargeImages) {
  DataFacts large{.path = "large", .parts = {}, .overlaps = {}};
  DataPart part{.name = "training", .source = "large"};
  part.images = {.count = 200,
                 .channels = 3,
                 .height = 224,
                 .width = 224,
                 .pixels = std::vector<std::uint8_t>(200 * 3 * 224 * 224),
                 .labels = std::vector<std::uint8_t>(200),
                 .source = "large"};
  std::uint32_t state = 1;  // noise, which does not compress
  for (auto& pixel : part.images.pixels)
    pixel = static_cast<std::uint8_t>((state = state * 1664525 + 1013904223) >> 24);
  for (std::size_t i = 0; i < 200; ++i) part.images.labels[i] = static_cast<std::uint8_t>(i % 10);
  part.count = 200;
  part.shape = {3, 224, 224};
  part.classes.emplace().fill(20);
  part.pixels = pixel_statistics(part.images);
  large.parts.push_back(std::move(part));
  EXPECT_LT(page(large).html.size(), 2'000'000u);
}

TEST(PixelChart, HasEveryShareOfEveryRange) {
  report::PixelCounts training{.name = "training"}, test{.name = "test"};
  training.histogram[0] = 700;
  training.histogram[7] = 200;
  training.histogram[8] = 99;
  training.histogram[255] = 1;
  test.histogram[128] = 5;
  const report::Chart chart = report::pixel_chart({training, test});
  const auto& boxes = chart.series.at(0).boxes;
  ASSERT_EQ(boxes.size(), 3u);
  const double shares[]{90, 9.9, 0.1}, begins[]{0, 8, 248};
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_NEAR(boxes[i].top, shares[i], 1e-12);
    EXPECT_GE(boxes[i].left, begins[i]);
    EXPECT_LE(boxes[i].right, begins[i] + 4);  // the other half is the test's
    EXPECT_EQ(boxes[i].bottom, chart.low_y);
    EXPECT_GT(boxes[i].top, chart.low_y);
  }
  EXPECT_GT(chart.low_y, 0);
  ASSERT_EQ(chart.series.at(1).boxes.size(), 1u);
  EXPECT_EQ(chart.series[1].boxes[0].top, 100);
  EXPECT_THAT(chart.description, HasSubstr("training: from 0 on, 8 values make up 90.0 % of the"));
}

}  // namespace
}  // namespace lockstep
