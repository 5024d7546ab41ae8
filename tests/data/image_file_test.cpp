#include "lockstep/data/image_file.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "files.h"
#include "picture_files.h"

namespace lockstep::data_test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

Image decode(std::string_view file) { return decode_image(bytes_of(file), "picture"); }

// Looks random, and depends on all arguments.
unsigned pattern(std::int64_t y, std::int64_t x, int c) {
  const auto hash = static_cast<std::uint32_t>(y * 7919 + x * 104729 + c * 1299709 + 17);
  return (hash * 2654435761u) >> 13;
}

void expect_pixels(const Image& image, std::int64_t channels,
                   const std::function<int(std::int64_t, std::int64_t, int)>& expected) {
  ASSERT_EQ(image.channels, channels);
  ASSERT_EQ(static_cast<std::int64_t>(image.pixels.size()), image.height * image.width * channels);
  std::size_t i = 0;
  for (std::int64_t y = 0; y < image.height; ++y) {
    for (std::int64_t x = 0; x < image.width; ++x) {
      for (int c = 0; c < channels; ++c, ++i) {
        ASSERT_EQ(int{image.pixels[i]}, expected(y, x, c)) << y << " " << x << " " << c;
      }
    }
  }
}

TEST(Png, EveryDepthOfGreyAndColourGivesItsValues) {
  for (const bool interlaced : {false, true}) {
    for (const auto& [height, width] : {std::pair{9, 13}, {1, 1}, {1, 7}, {7, 1}, {3, 2}}) {
      for (const int colour : {0, 2, 4, 6}) {
        for (const int bits : {1, 2, 4, 8, 16}) {
          if (bits < 8 && colour != 0) continue;
          const unsigned most = (1u << bits) - 1;
          const auto sample = [&](auto y, auto x, int c) { return pattern(y, x, c) & most; };
          const Image image = decode(png_file(
              height, width, {.bits = bits, .colour = colour, .interlaced = interlaced}, sample));
          ASSERT_EQ(image.height, height);
          ASSERT_EQ(image.width, width);
          const std::int64_t channels = colour == 0 ? 1 : colour == 4 ? 2 : colour == 2 ? 3 : 4;
          SCOPED_TRACE(fmt::format("colour {} bits {} {}x{}", colour, bits, height, width));
          expect_pixels(image, channels, [&](auto y, auto x, int c) {
            return static_cast<int>(std::lround(sample(y, x, c) * 255.0 / most));
          });
        }
      }
    }
  }
}

TEST(Png, PalettesAndTransparentColoursAreExpanded) {
  const std::string palette = "\x01\x02\x03\x10\x20\x30\xff\x80\x40\xfe\xfd\xfc";
  const auto index = [](auto y, auto x, int) { return pattern(y, x, 0) % 4; };
  const auto colour = [&](unsigned entry, int c) {
    return static_cast<unsigned char>(palette[3 * entry + static_cast<unsigned>(c)]);
  };
  for (const int bits : {2, 4, 8}) {
    expect_pixels(decode(png_file(6, 5, {.bits = bits, .colour = 3, .palette = palette}, index)), 3,
                  [&](auto y, auto x, int c) { return colour(index(y, x, 0), c); });
    // The alpha of the first two entries; the others are opaque.
    const std::string alpha("\x00\x80", 2);
    expect_pixels(
        decode(png_file(
            6, 5, {.bits = bits, .colour = 3, .palette = palette, .transparency = alpha}, index)),
        4, [&](auto y, auto x, int c) {
          const unsigned entry = index(y, x, 0);
          return c < 3 ? colour(entry, c) : entry == 0 ? 0 : entry == 1 ? 0x80 : 0xff;
        });
  }
  const auto grey = [](auto y, auto x, int) { return pattern(y, x, 0) % 3; };
  expect_pixels(decode(png_file(6, 5, {.transparency = std::string("\0\1", 2)}, grey)), 2,
                [&](auto y, auto x, int c) {
                  const int value = static_cast<int>(grey(y, x, 0));
                  return c == 0 ? value : (value == 1 ? 0 : 255);
                });
}

TEST(Png, EveryTruncationAndEveryFlippedByteIsRefused) {
  const auto sample = [](auto y, auto x, int c) { return pattern(y, x, c) & 255; };
  const std::string file = png_file(
      5, 4, {.colour = 3, .palette = std::string(768, 'x'), .transparency = "abc"}, sample);
  EXPECT_EQ(decode(file).channels, 4);
  for (std::size_t length = 0; length < file.size(); ++length) {
    expect_error(ExitCode::kBadData, HasSubstr("picture"),
                 [&] { decode(std::string_view(file).substr(0, length)); });
  }
  for (std::size_t at = 0; at < file.size(); ++at) {
    for (const char flip : {'\x01', '\x20', '\x80'}) {
      std::string damaged = file;
      damaged[at] = static_cast<char>(damaged[at] ^ flip);
      expect_error(ExitCode::kBadData, HasSubstr("picture"), [&] { decode(damaged); });
    }
  }
  EXPECT_EQ(decode(file + "what follows").pixels, decode(file).pixels);
}

TEST(Png, SaysWhatIsWrong) {
  const auto sample = [](auto, auto, int) { return 1u; };
  const std::string file = png_file(3, 3, {}, sample);
  const auto replace = [](std::string text, std::string_view from, std::string_view to) {
    return text.replace(text.find(from), from.size(), to);
  };
  const auto with_header = [&](std::string_view header) {
    return "\x89PNG\r\n\x1a\n" + png_chunk("IHDR", header) + file.substr(8 + 25);
  };
  using namespace std::string_literals;
  const std::vector<std::pair<std::string, std::string>> cases{
      {replace(file, "\r\n", "\n"), "copied as text"},
      {file.substr(0, 46), "ends in the PNG chunk IDAT at byte 33"},
      {replace(file, "IDAT", "IDBT"), "checksum of the PNG chunk IDBT at byte 33"},
      {file.substr(0, file.size() - 12), "without PNG's last chunk"},
      {"\x89PNG\r\n\x1a\n" + png_chunk("IDAT", "") + png_chunk("IEND", ""), "expected IHDR"},
      {with_header("\0\1\0\0\0\1\0\0\x08\0\0\0\0"s), "65536 x 65536 pixels"},
      {with_header("\0\0\x20\0\0\0\x10\0\x08\0\0\0\0"s), "cannot hold them"},
      {with_header("\0\0\0\0\0\0\0\3\x08\0\0\0\0"s), "0 x 3 pixels"},
      {with_header("\0\0\0\4\0\0\0\4\x08\0\0\0\0"s), "damaged PNG data"},
      {with_header("\0\0\0\3\0\0\0\3\x07\0\0\0\0"s), "damaged PNG data"},
      {with_header("\0\0\0\3\0\0\0\3\x08\x05\0\0\0"s), "PNG data"},
  };
  for (const auto& [damaged, expected] : cases) {
    expect_error(
        ExitCode::kBadData, AllOf(HasSubstr("picture: "), HasSubstr(expected)),
        [&] { decode(damaged); }, expected);
  }
}

double greatest_difference(const Image& a, const Image& b) {
  EXPECT_EQ(a.pixels.size(), b.pixels.size());
  int most = 0;
  for (std::size_t i = 0; i < a.pixels.size(); ++i) {
    most = std::max(most, std::abs(a.pixels[i] - b.pixels[i]));
  }
  return most;
}

// Smooth, so that JPEG keeps it.
Image gradient(std::int64_t height, std::int64_t width, std::int64_t channels) {
  return make_image(height, width, channels,
                    [&](auto y, auto x, auto c) { return 20 + 2 * y + (c == 1 ? 1 : 3) * x; });
}

TEST(Jpeg, GreyColourAndProgressiveGiveTheirValues) {
  for (const auto& [height, width] : {std::pair{40, 30}, {8, 8}, {1, 1}, {17, 9}}) {
    for (const std::int64_t channels : {1, 3}) {
      for (const bool progressive : {false, true}) {
        const Image image = gradient(height, width, channels);
        const Image read = decode(jpeg_file(image, {.quality = 98, .progressive = progressive}));
        ASSERT_EQ(read.height, height);
        ASSERT_EQ(read.width, width);
        ASSERT_EQ(read.channels, channels);
        EXPECT_LE(greatest_difference(read, image), 8);
      }
    }
  }
}

TEST(Jpeg, CmykIsConvertedInBothSenses) {
  const Image cmyk = make_image(16, 16, 4, [](auto y, auto, auto c) {
    return c == 3 ? 20 : static_cast<int>(y) * 10 + 30 * static_cast<int>(c);
  });
  for (const bool adobe : {false, true}) {
    const Image read = decode(jpeg_file(cmyk, {.quality = 100, .adobe = adobe}));
    ASSERT_EQ(read.channels, 3);
    const Image expected = make_image(16, 16, 3, [&](auto y, auto, auto c) {
      return (255 - (y * 10 + 30 * c)) * (255 - 20) / 255;
    });
    EXPECT_LE(greatest_difference(read, expected), 4);
  }
}

// What a camera stores when it is held in each of the eight ways, so that upright shows `upright`.
TEST(Jpeg, IsTurnedUprightAsExifSays) {
  const Image upright = gradient(24, 16, 1);
  for (int orientation = 1; orientation <= 8; ++orientation) {
    const bool transposed = orientation >= 5;
    // EXIF 2.3: row 0 and column 0 of what is stored are these sides of the scene.
    const bool row_0_is_bottom_or_right =
        orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
    const bool column_0_is_bottom_or_right =
        orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
    const std::int64_t height = transposed ? upright.width : upright.height;
    const std::int64_t width = transposed ? upright.height : upright.width;
    const Image stored = make_image(height, width, 1, [&](auto y, auto x, auto) {
      std::int64_t row = row_0_is_bottom_or_right ? height - 1 - y : y;
      std::int64_t column = column_0_is_bottom_or_right ? width - 1 - x : x;
      if (transposed) std::swap(row, column);
      return upright.pixels[static_cast<std::size_t>(row * upright.width + column)];
    });
    for (const bool big_endian : {false, true}) {
      const Image read =
          decode(jpeg_file(stored, {.quality = 98, .app1 = exif_segment(orientation, big_endian)}));
      ASSERT_EQ(read.height, upright.height) << orientation;
      ASSERT_EQ(read.width, upright.width) << orientation;
      EXPECT_LE(greatest_difference(read, upright), 6) << orientation;
    }
  }
  for (const int wrong : {0, 9, 255}) {
    const Image read = decode(jpeg_file(upright, {.app1 = exif_segment(wrong, true)}));
    EXPECT_EQ(read.height, upright.height);
  }
  const std::string segment = exif_segment(6, false);
  for (std::size_t length = 1; length < segment.size(); ++length) {
    EXPECT_NO_THROW(decode(jpeg_file(upright, {.app1 = segment.substr(0, length)})));
  }
}

TEST(Jpeg, EveryTruncationIsRefusedAndNoDamageDoesHarm) {
  for (const bool progressive : {false, true}) {
    const std::string file =
        jpeg_file(gradient(20, 20, 3), {.quality = 80, .progressive = progressive});
    for (std::size_t length = 0; length < file.size(); ++length) {
      expect_error(ExitCode::kBadData, HasSubstr("picture"),
                   [&] { decode(std::string_view(file).substr(0, length)); });
    }
    for (std::size_t at = 0; at < file.size(); ++at) {
      for (const char flip : {'\x01', '\x10', '\x80', '\xff'}) {
        std::string damaged = file;
        damaged[at] = static_cast<char>(damaged[at] ^ flip);
        try {
          decode(damaged);
        } catch (const Error& error) {
          EXPECT_EQ(error.code(), ExitCode::kBadData) << error.what();
        }
      }
    }
    EXPECT_EQ(decode(file + "what follows").pixels, decode(file).pixels);
  }
}

TEST(Jpeg, SizesAreCheckedBeforeMemoryIsTaken) {
  std::string file = jpeg_file(gradient(8, 8, 1));
  const std::size_t frame = file.find("\xff\xc0");
  ASSERT_NE(frame, std::string::npos);
  for (std::size_t i = 0; i < 4; ++i) file[frame + 5 + i] = '\x7f';
  expect_error(ExitCode::kBadData, HasSubstr("32639 x 32639 pixels, expected at most"),
               [&] { decode(file); });
  for (std::size_t i = 0; i < 4; i += 2) file[frame + 5 + i] = '\x1f';
  expect_error(ExitCode::kBadData, HasSubstr("cannot hold them"), [&] { decode(file); });
}

TEST(ImageFile, KindIsToldByContent) {
  const TemporaryDirectory directory;
  const Image image = gradient(4, 5, 3);
  write(directory / "a.jpg", png_file(image));
  EXPECT_EQ(read_image(directory / "a.jpg").pixels, image.pixels);
  write(directory / "b.png", jpeg_file(image));
  EXPECT_EQ(read_image(directory / "b.png").width, 5);
  write(directory / "b.png.gz", gzip(png_file(image)));
  EXPECT_EQ(read_image(directory / "b.png.gz").pixels, image.pixels);
  for (const char* name : {"a.jpg", "b.png", "b.png.gz"}) {
    EXPECT_TRUE(is_image_file(directory / name)) << name;
  }
  write(directory / "csv", "0,1,2\n");
  EXPECT_FALSE(is_image_file(directory / "csv"));
  expect_error(ExitCode::kInputMissing, HasSubstr("nothing"),
               [&] { is_image_file(directory / "nothing"); });
  write(directory / "c.png", "GIF89a\x01");
  expect_error(ExitCode::kBadData, AllOf(HasSubstr("c.png"), HasSubstr("'GIF89a\\x01'")),
               [&] { read_image(directory / "c.png"); });
  write(directory / "d.png", "");
  expect_error(ExitCode::kBadData, AllOf(HasSubstr("d.png"), HasSubstr("is empty")),
               [&] { read_image(directory / "d.png"); });
  expect_error(ExitCode::kInputMissing, HasSubstr("e.png"),
               [&] { read_image(directory / "e.png"); });
  EXPECT_TRUE(looks_like_image("\x89PNG\r"));
  EXPECT_TRUE(looks_like_image("\xff\xd8\xff\xe0"));
  EXPECT_FALSE(looks_like_image("\xff\xd8"));
  EXPECT_FALSE(looks_like_image("label,pixel0"));
}

}  // namespace
}  // namespace lockstep::data_test
