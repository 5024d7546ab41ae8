#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "files.h"

namespace lockstep {
namespace {

using data_test::expect_error;
using data_test::gzip;
using data_test::idx;
using data_test::idx_images;
using data_test::idx_labels;
using data_test::make_dataset;
using data_test::same_data;
using data_test::TemporaryDirectory;
using data_test::write;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr char kImages[] = "train-images-idx3-ubyte";
constexpr char kLabels[] = "train-labels-idx1-ubyte";

Dataset load(const std::filesystem::path& path) {
  return load_dataset(path, Part::kTraining, Labels::kRequired);
}

TEST(Idx, ReadsBackWhateverShapeAndCompression) {
  const struct {
    std::int64_t count, channels, height, width;
  } shapes[] = {{1, 1, 1, 1}, {7, 1, 28, 28}, {3, 3, 28, 28}, {5, 2, 3, 9}, {300, 1, 40, 50}};
  for (const auto& s : shapes) {
    const Dataset expected = make_dataset(s.count, s.channels, s.height, s.width);
    for (const bool compressed : {false, true}) {
      const TemporaryDirectory directory;
      const auto put = [&](const std::string& name, const std::string& content) {
        write(directory / (compressed ? name + ".gz" : name), compressed ? gzip(content) : content);
      };
      put(kImages, idx_images(expected));
      put(kLabels, idx_labels(expected));
      const Dataset found = load(directory.path());
      EXPECT_TRUE(same_data(found, expected)) << s.count << " of " << s.channels;
      EXPECT_EQ(found.sha256(), expected.sha256());
      EXPECT_THAT(found.source, AllOf(HasSubstr(kImages), HasSubstr(kLabels)));
    }
  }
}

TEST(Idx, CompressionIsToldByContentNotName) {
  const Dataset expected = make_dataset(4, 1, 5, 5);
  const TemporaryDirectory directory;
  write(directory / kImages, gzip(idx_images(expected)));
  write(directory / (std::string(kLabels) + ".gz"), idx_labels(expected));
  EXPECT_TRUE(same_data(load(directory.path()), expected));
}

struct Damage {
  const char* what;
  std::string images, labels, message;
};

TEST(Idx, RefusesEveryDamagedFile) {
  const Dataset d = make_dataset(6, 1, 4, 5);
  const std::string good = idx_images(d);
  const std::string labels = idx_labels(d);
  const std::string pixels = good.substr(16);
  std::string bad_label = labels;
  bad_label[8 + 3] = 10;
  const std::vector<Damage> corpus{
      {"empty images", "", labels, "ends after 0 bytes, expected the magic number"},
      {"empty labels", good, "", "ends after 0 bytes, expected the magic number"},
      {"half a magic", good.substr(0, 3), labels, "ends after 3 bytes"},
      {"half a header", good.substr(0, 14), labels, "expected the width in bytes 12 to 15"},
      {"swapped files", labels, good, "which means labels"},
      {"labels are images", good, good, "which means images"},
      {"float elements", idx({0xd03, 6, 4, 5}, pixels), labels, "starts with 00000d03"},
      {"little-endian magic", idx({0x03080000, 6, 4, 5}, pixels), labels, "starts with 03080000"},
      {"five dimensions", idx({0x805, 6, 1, 1, 4, 5}, pixels), labels, "expected 00000803"},
      {"no images", idx({0x803, 0, 4, 5}, ""), idx({0x801, 0}, ""), "the number of images in"},
      {"no height", idx({0x803, 6, 0, 5}, ""), labels, "the height in bytes 8 to 11 is 0"},
      {"no width", idx({0x803, 6, 4, 0}, ""), labels, "the width in bytes 12 to 15 is 0"},
      {"no channels", idx({0x804, 6, 0, 4, 5}, ""), labels, "the number of channels"},
      {"one byte short", good.substr(0, good.size() - 1), labels, "promises 120 bytes"},
      {"no pixels", good.substr(0, 16), labels, "but the file has only 0"},
      {"one byte long", good + '\0', labels, "goes on after byte 136"},
      {"labels short", good, labels.substr(0, 13), "promises 6 bytes"},
      {"labels long", good, labels + '\1', "goes on after byte 14"},
      {"fewer labels", good, idx({0x801, 5}, labels.substr(8, 5)), "has 5 labels, but"},
      {"more labels", good, idx({0x801, 7}, labels.substr(8) + '\0'), "has 7 labels, but"},
      {"label 10", good, bad_label, "label 10 at byte 11 (sample 3), expected 0 to 9"},
      {"huge count", idx({0x803, 0xffffffff, 4, 5}, pixels), idx({0x801, 0xffffffff}, ""),
       "promises 4294967295 bytes"},
      {"size overflows 64 bits", idx({0x804, 6, 0xffffffff, 0xffffffff, 0xffffffff}, pixels),
       labels, "is larger than the"},
      {"size overflows to 0", idx({0x804, 6, 1 << 20, 1 << 20, 1 << 24}, pixels), labels,
       "is larger than the"},
      {"size overflows with the count", idx({0x803, 6, 0x4000, 0x4000}, pixels), labels,
       "but the file has only 120"},
  };
  for (const Damage& damage : corpus) {
    const TemporaryDirectory directory;
    write(directory / kImages, damage.images);
    write(directory / kLabels, damage.labels);
    expect_error(
        ExitCode::kBadData, AllOf(HasSubstr(damage.message), HasSubstr(directory.path().string())),
        [&] { load(directory.path()); }, damage.what);
  }
}

TEST(Idx, EveryTruncationIsRefused) {
  const Dataset d = make_dataset(2, 3, 3, 2);
  const std::string good = idx_images(d);
  const TemporaryDirectory directory;
  write(directory / kLabels, idx_labels(d));
  for (std::size_t size = 0; size < good.size(); ++size) {
    write(directory / kImages, good.substr(0, size));
    expect_error(ExitCode::kBadData, HasSubstr(kImages), [&] { load(directory.path()); });
  }
}

TEST(Gzip, EveryTruncationIsRefused) {
  const Dataset d = make_dataset(2, 1, 6, 6);
  const std::string good = gzip(idx_images(d));
  const TemporaryDirectory directory;
  write(directory / kLabels, idx_labels(d));
  for (std::size_t size = 0; size < good.size(); ++size) {
    write(directory / kImages, good.substr(0, size));
    expect_error(ExitCode::kBadData, HasSubstr(kImages), [&] { load(directory.path()); });
  }
}

// The compression is intact; what was compressed is not all that the header promises.
TEST(Gzip, EveryTruncationBeforeCompressionIsRefused) {
  const Dataset d = make_dataset(2, 1, 6, 6);
  const std::string raw = idx_images(d);
  const TemporaryDirectory directory;
  write(directory / kLabels, idx_labels(d));
  for (std::size_t size = 0; size < raw.size(); ++size) {
    write(directory / kImages, gzip(raw.substr(0, size)));
    expect_error(ExitCode::kBadData, HasSubstr(fmt::format("ends after {} bytes, expected", size)),
                 [&] { load(directory.path()); });
  }
}

// A few bits of a gzip header (time, operating system) mean nothing; every other damage is noticed.
TEST(Gzip, NoFlippedBitChangesTheData) {
  const Dataset d = make_dataset(2, 1, 6, 6);
  const std::string good = gzip(idx_images(d));
  const TemporaryDirectory directory;
  write(directory / kLabels, idx_labels(d));
  int refused = 0;
  for (std::size_t byte = 0; byte < good.size(); ++byte) {
    for (const int bit : {0, 3, 7}) {
      std::string damaged = good;
      damaged[byte] = static_cast<char>(damaged[byte] ^ (1 << bit));
      write(directory / kImages, damaged);
      try {
        EXPECT_TRUE(same_data(load(directory.path()), d)) << "byte " << byte << " bit " << bit;
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ExitCode::kBadData) << error.what();
        ++refused;
      }
    }
  }
  EXPECT_GE(refused, 3 * (static_cast<int>(good.size()) - 10));
}

TEST(Gzip, MembersAreJoinedAndGarbageIsRefused) {
  const Dataset d = make_dataset(3, 1, 6, 6);
  const std::string raw = idx_images(d);
  const TemporaryDirectory directory;
  write(directory / kLabels, idx_labels(d));
  write(directory / kImages, gzip(raw.substr(0, 50)) + gzip("") + gzip(raw.substr(50)) + gzip(""));
  EXPECT_TRUE(same_data(load(directory.path()), d));

  const std::string member = gzip(raw);
  for (const std::string& garbage : {std::string("x"), std::string(1, '\0'), std::string(600, '\0'),
                                     std::string("\x1f\x8b"), std::string("\x1f\x8b\x08garbage")}) {
    write(directory / kImages, member + garbage);
    expect_error(ExitCode::kBadData,
                 HasSubstr("the gzip data ends at byte " + std::to_string(member.size())),
                 [&] { load(directory.path()); });
  }
  write(directory / kImages, gzip(raw) + gzip("x"));
  expect_error(ExitCode::kBadData, HasSubstr("goes on after byte"),
               [&] { load(directory.path()); });
}

TEST(Gzip, BombsAreRefused) {
  const TemporaryDirectory directory;
  write(directory / kLabels, idx({0x801, 1 << 19}, std::string(1 << 19, '\0')));
  const std::string zeros(std::size_t{100} << 20, '\0');

  // 100 MiB of zeros in 100 KiB, as promised by the header: more than is believed.
  write(directory / kImages, gzip(idx({0x803, 1 << 19, 10, 20}, zeros)));
  expect_error(ExitCode::kBadData, HasSubstr("promises 104857600 bytes"),
               [&] { load(directory.path()); });

  // As a CSV there is no promise, but neither is there a line's end.
  write(directory / "bomb.csv", gzip(std::string(zeros.size(), '0')));
  expect_error(ExitCode::kBadData, HasSubstr("line 1 has more than"),
               [&] { load(directory / "bomb.csv"); });

  std::string rows;
  while (rows.size() < zeros.size()) rows += "1,0\n";
  write(directory / "rows.csv", gzip(rows));
  expect_error(ExitCode::kBadData, HasSubstr("the most that is believed"),
               [&] { load(directory / "rows.csv"); });
}

}  // namespace
}  // namespace lockstep
