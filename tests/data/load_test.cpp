#include "lockstep/data/load.h"

#include <gtest/gtest.h>

#include <array>
#include <numeric>
#include <string>
#include <vector>

#include "data/idx_directory.h"
#include "files.h"

namespace lockstep {
namespace {

using data_test::csv;
using data_test::expect_error;
using data_test::gzip;
using data_test::idx_images;
using data_test::idx_labels;
using data_test::make_dataset;
using data_test::same_data;
using data_test::TemporaryDirectory;
using data_test::write;
using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(LoadDataset, FindsEverySpelling) {
  const Dataset d = make_dataset(5, 1, 4, 4);
  for (const Part part : {Part::kTraining, Part::kTest}) {
    const std::string prefix = part == Part::kTraining ? "train" : "t10k";
    for (const std::string images :
         {"-images-idx3-ubyte", "-images.idx3-ubyte", "-images-idx4-ubyte", "-images.idx4-ubyte"}) {
      for (const std::string labels : {"-labels-idx1-ubyte", "-labels.idx1-ubyte"}) {
        for (const bool compressed : {false, true}) {
          const TemporaryDirectory directory;
          const std::string ending = compressed ? ".gz" : "";
          write(directory / (prefix + images + ending), idx_images(d));
          write(directory / (prefix + labels), idx_labels(d));
          EXPECT_TRUE(same_data(load_dataset(directory.path(), part, Labels::kRequired), d));
        }
      }
    }
  }
}

TEST(LoadDataset, ARawFileWinsAndTwoSpellingsAreRefused) {
  const Dataset raw = make_dataset(5, 1, 4, 4, 1);
  const Dataset other = make_dataset(5, 1, 4, 4, 2);
  const TemporaryDirectory directory;
  write(directory / "train-labels-idx1-ubyte", idx_labels(raw));
  write(directory / "train-images-idx3-ubyte.gz", gzip(idx_images(other)));
  write(directory / "train-images-idx3-ubyte", idx_images(raw));
  EXPECT_TRUE(same_data(load_dataset(directory.path(), Part::kTraining, Labels::kRequired), raw));
  write(directory / "train-images.idx3-ubyte.gz", gzip(idx_images(raw)));
  expect_error(ExitCode::kBadData, HasSubstr("both train-images-idx3-ubyte and train-images.idx3"),
               [&] { load_dataset(directory.path(), Part::kTraining, Labels::kRequired); });
}

TEST(LoadDataset, HalfADirectoryExplainsItself) {
  const Dataset d = make_dataset(5, 1, 4, 4);
  const TemporaryDirectory directory;
  const auto load = [&](Part part, Labels labels = Labels::kRequired) {
    return load_dataset(directory.path(), part, labels);
  };
  expect_error(ExitCode::kInputMissing,
               AllOf(HasSubstr("train-images-idx3-ubyte and train-labels-idx1-ubyte not found"),
                     HasSubstr("the directory holds nothing")),
               [&] { load(Part::kTraining); });
  write(directory / "train-images-idx3-ubyte", idx_images(d));
  expect_error(ExitCode::kInputMissing,
               AllOf(HasSubstr(": train-labels-idx1-ubyte not found"),
                     HasSubstr("holds train-images-idx3-ubyte")),
               [&] { load(Part::kTraining); });
  expect_error(ExitCode::kInputMissing, HasSubstr("t10k-images-idx3-ubyte and t10k-labels"),
               [&] { load(Part::kTest); });
  Dataset unlabelled = d;
  unlabelled.labels.clear();
  EXPECT_TRUE(same_data(load(Part::kTraining, Labels::kOptional), unlabelled));

  const TemporaryDirectory other;
  write(other / "train-labels-idx1-ubyte", idx_labels(d));
  for (int i = 0; i < 20; ++i) write(other / ("image" + std::to_string(i) + ".png"), "");
  for (const Labels labels : {Labels::kRequired, Labels::kOptional}) {
    expect_error(ExitCode::kInputMissing,
                 AllOf(HasSubstr(": train-images-idx3-ubyte not found"), HasSubstr("image0.png"),
                       HasSubstr("and 13 more")),
                 [&] { load_dataset(other.path(), Part::kTraining, labels); });
  }
}

TEST(LoadDataset, AFileOfTheWrongKindExplainsItself) {
  using namespace std::string_literals;
  const TemporaryDirectory directory;
  const auto file = directory / "data";
  const auto load = [&](Labels labels = Labels::kRequired) {
    return load_dataset(file, Part::kTraining, labels);
  };
  expect_error(ExitCode::kInputMissing, HasSubstr("No such file"), [&] { load(); });

  for (const auto& [content, kind] : std::vector<std::pair<std::string, std::string>>{
           {"\x89PNG\r\n\x1a\n"s, "(a PNG image)"},
           {"\xff\xd8\xff\xe0"s, "(a JPEG image)"},
           {"PK\x03\x04 and so on"s, "(a zip archive)"},
           {"\x93NUMPY\x01"s, "(a NumPy array)"},
           {"GIF89a\x10"s, "(a GIF image)"},
           {"MM\0*\0\0"s, "(a TIFF image)"},
           {"BMv<\0\0"s, "(a BMP image)"},
           {"%PDF-1.7"s, "(a PDF document)"},
           {"\xff\xfe"s + "1\0,\0"s, "(UTF-16 text)"},
           {"\0\0\0\0\0"s, "starts with '\\x00\\x00"},
           {"\x80\0\0"s, "starts with '\\x80"}}) {
    write(file, content);
    expect_error(ExitCode::kBadData, AllOf(HasSubstr(kind), HasSubstr("expected a CSV file")),
                 [&] { load(); });
  }

  const Dataset d = make_dataset(5, 1, 4, 4);
  write(file, idx_images(d));
  expect_error(ExitCode::kInputMissing, HasSubstr("expected the directory that holds both"),
               [&] { load(); });
  Dataset unlabelled = d;
  unlabelled.labels.clear();
  EXPECT_TRUE(same_data(load(Labels::kOptional), unlabelled));
  write(file, gzip(idx_images(d)));
  EXPECT_TRUE(same_data(load(Labels::kOptional), unlabelled));

  expect_error(ExitCode::kInputMissing, HasSubstr("is not a regular file"),
               [&] { load_dataset("/dev/null", Part::kTraining, Labels::kRequired); });
}

DataOptions options(const std::filesystem::path& data,
                    const std::filesystem::path& test_data = {}) {
  DataOptions result;
  result.data = data;
  result.test_data = test_data;
  return result;
}

TEST(LoadTest, ComesFromItsOwnPathOrBesideTheTrainingData) {
  const Dataset train = make_dataset(5, 1, 28, 28, 1);
  const Dataset test = make_dataset(3, 1, 28, 28, 2);
  const TemporaryDirectory directory;
  write(directory / "train.csv", csv(train, true));
  write(directory / "test.csv", csv(test, true));
  write(directory / "train-images-idx3-ubyte", idx_images(train));
  write(directory / "train-labels-idx1-ubyte", idx_labels(train));

  EXPECT_FALSE(load_test(options(directory / "train.csv")).has_value());
  EXPECT_FALSE(load_test(options(directory.path())).has_value());
  EXPECT_TRUE(same_data(*load_test(options(directory.path(), directory / "test.csv")), test));

  write(directory / "t10k-labels-idx1-ubyte", idx_labels(test));
  expect_error(ExitCode::kInputMissing, HasSubstr("t10k-images-idx3-ubyte not found"),
               [&] { load_test(options(directory.path())); });
  write(directory / "t10k-images-idx3-ubyte", idx_images(test));
  EXPECT_TRUE(same_data(*load_test(options(directory.path())), test));
  EXPECT_TRUE(same_data(*load_test(options(directory / "train.csv", directory.path())), test));
  EXPECT_TRUE(same_data(load_training(options(directory.path())), train));
}

TEST(Embedded, IsMnist) {
  const Dataset train = load_training({});
  const std::optional<Dataset> test = load_test({});
  ASSERT_TRUE(test.has_value());
  EXPECT_EQ(train.count, 60000);
  EXPECT_EQ(test->count, 10000);
  for (const Dataset* d : {&train, &*test}) {
    EXPECT_EQ(std::vector({d->channels, d->height, d->width}),
              (std::vector<std::int64_t>{1, 28, 28}));
  }
  EXPECT_NO_THROW(require_same_shape(*test, train));
  std::vector<std::uint32_t> all(60000);
  std::iota(all.begin(), all.end(), 0u);
  EXPECT_EQ(class_counts(train, all), (std::array<std::int64_t, 10>{5923, 6742, 5958, 6131, 5842,
                                                                    5421, 5918, 6265, 5851, 5949}));
}

TEST(Embedded, SaysWhereItWasLookedFor) {
  const TemporaryDirectory directory;
  const Dataset d = make_dataset(2, 1, 2, 2);
  const std::vector<std::filesystem::path> candidates{directory / "a", directory.path()};
  expect_error(ExitCode::kInputMissing,
               AllOf(HasSubstr(candidates[0].string() + ", " + candidates[1].string())),
               [&] { data::first_with_training_data(candidates); });
  write(directory / "train-images-idx3-ubyte", idx_images(d));
  expect_error(ExitCode::kInputMissing, HasSubstr("was not found in"),
               [&] { data::first_with_training_data(candidates); });
  write(directory / "train-labels-idx1-ubyte", idx_labels(d));
  EXPECT_EQ(data::first_with_training_data(candidates), candidates[1]);
}

// Ranks compare this hash before they train.
TEST(DatasetHash, NoticesEveryDifference) {
  const Dataset d = make_dataset(3, 2, 3, 4);
  Dataset copy = d;
  copy.source = "another path";
  EXPECT_EQ(copy.sha256(), d.sha256());
  for (std::size_t i = 0; i < d.pixels.size(); ++i) {
    copy = d;
    copy.pixels[i] ^= 1;
    EXPECT_NE(copy.sha256(), d.sha256());
  }
  for (std::size_t i = 0; i < d.labels.size(); ++i) {
    copy = d;
    copy.labels[i] ^= 1;
    EXPECT_NE(copy.sha256(), d.sha256());
  }
  copy = d;
  std::swap(copy.height, copy.width);
  EXPECT_NE(copy.sha256(), d.sha256());
  copy = d;
  copy.pixels.insert(copy.pixels.end(), copy.labels.begin(), copy.labels.end());
  copy.labels.clear();
  EXPECT_NE(copy.sha256(), d.sha256());
}

TEST(DatasetShape, DifferentShapesAreRefused) {
  const Dataset d = make_dataset(1, 1, 4, 4);
  EXPECT_NO_THROW(require_same_shape(make_dataset(9, 1, 4, 4), d));
  for (const auto& [c, h, w] : {std::tuple{3, 4, 4}, {1, 5, 4}, {1, 4, 5}}) {
    expect_error(ExitCode::kBadData, HasSubstr("expected 1x4x4 as in made"),
                 [&] { require_same_shape(make_dataset(1, c, h, w), d); });
  }
}

}  // namespace
}  // namespace lockstep
