#include "lockstep/records/picture.h"

#include <gtest/gtest.h>
#include <png.h>

#include <array>
#include <numeric>
#include <random>
#include <set>

#include "../checkpoint/expect_error.h"

namespace lockstep {
namespace {

using Color = std::array<int, 3>;

Picture random_picture(std::mt19937_64& random, std::int64_t width, std::int64_t height,
                       int channels) {
  Picture picture{.width = width, .height = height, .channels = channels, .pixels = {}};
  picture.pixels.resize(static_cast<std::size_t>(width * height * channels));
  for (auto& value : picture.pixels) value = static_cast<std::uint8_t>(random());
  return picture;
}

Color at(const Picture& picture, std::int64_t x, std::int64_t y) {
  const std::uint8_t* pixel =
      &picture.pixels.at(static_cast<std::size_t>(3 * (y * picture.width + x)));
  return {pixel[0], pixel[1], pixel[2]};
}

std::set<Color> colors_in(const Picture& picture, std::int64_t left, std::int64_t top,
                          std::int64_t width, std::int64_t height) {
  std::set<Color> colors;
  for (std::int64_t y = top; y < top + height; ++y) {
    for (std::int64_t x = left; x < left + width; ++x) colors.insert(at(picture, x, y));
  }
  return colors;
}

TEST(Picture, OfPlanesHasThePixelsChannelsSideBySide) {
  std::vector<std::uint8_t> planes(3 * 2 * 5);
  std::iota(planes.begin(), planes.end(), std::uint8_t{0});
  const Picture picture = picture_of_planes(planes, 3, 2, 5);
  EXPECT_EQ(picture.width, 5);
  EXPECT_EQ(picture.height, 2);
  for (int pixel = 0; pixel < 10; ++pixel) {
    for (int channel = 0; channel < 3; ++channel) {
      EXPECT_EQ(picture.pixels[static_cast<std::size_t>(3 * pixel + channel)],
                10 * channel + pixel);
    }
  }
  test::expect_error(ExitCode::kInternal, "a picture of",
                     [&] { picture_of_planes(planes, 1, 2, 5); });
}

TEST(Png, ReadsBackToTheSamePicture) {
  std::mt19937_64 random(1);
  for (const int channels : {1, 3}) {
    for (int i = 0; i < 20; ++i) {
      const Picture picture =
          random_picture(random, static_cast<std::int64_t>(1 + random() % 70),
                         static_cast<std::int64_t>(1 + random() % 70), channels);
      const auto file = encode_png(picture);
      png_image image{};
      image.version = PNG_IMAGE_VERSION;
      ASSERT_NE(::png_image_begin_read_from_memory(&image, file.data(), file.size()), 0);
      ASSERT_EQ(image.width, picture.width);
      ASSERT_EQ(image.height, picture.height);
      image.format = channels == 1 ? PNG_FORMAT_GRAY : PNG_FORMAT_RGB;
      std::vector<std::uint8_t> pixels(PNG_IMAGE_SIZE(image));
      ASSERT_NE(::png_image_finish_read(&image, nullptr, pixels.data(), 0, nullptr), 0);
      ASSERT_EQ(pixels, picture.pixels);
    }
  }
}

// The background of a cell: its corner.
Color cell(const Picture& picture, std::int64_t row, std::int64_t column) {
  return at(picture, 24 + column * 46 + 2, 24 + row * 46 + 2);
}

TEST(ConfusionPicture, ShadesErrorsByTheirNumber) {
  std::vector<std::vector<std::int64_t>> confusion(10, std::vector<std::int64_t>(10, 0));
  for (std::size_t i = 0; i < 10; ++i) confusion[i][i] = 90'000;
  for (std::size_t i = 1; i < 9; ++i) confusion[9][i] = std::int64_t{1} << (2 * i);
  confusion[0][1] = 1;
  const Picture picture = draw_confusion(confusion);
  EXPECT_EQ(picture.width, picture.height);
  EXPECT_EQ(cell(picture, 3, 3), (Color{204, 227, 240}));
  EXPECT_EQ(cell(picture, 2, 5), (Color{245, 247, 249}));
  // The more, the less blue; a single one can be told from none.
  EXPECT_LT(cell(picture, 0, 1)[2], 235);
  for (std::int64_t column = 2; column < 9; ++column) {
    EXPECT_LT(cell(picture, 9, column)[2], cell(picture, 9, column - 1)[2]);
  }
}

TEST(ConfusionPicture, OfAnyNumbersStaysInItsFrame) {
  std::mt19937_64 random(2);
  for (const std::size_t classes : {1u, 2u, 10u, 13u}) {
    std::vector<std::vector<std::int64_t>> confusion(classes, std::vector<std::int64_t>(classes));
    for (auto& row : confusion) {
      for (auto& count : row) count = static_cast<std::int64_t>(random() >> (1 + random() % 63));
    }
    EXPECT_NO_THROW(encode_png(draw_confusion(confusion)));
  }
  test::expect_error(ExitCode::kInternal, "0 classes", [] { draw_confusion({}); });
}

TEST(ErrorPicture, ShowsEachImageDoubledWithItsLabels) {
  std::mt19937_64 random(3);
  for (const int channels : {1, 3}) {
    for (const std::int64_t count : {1, 5, 6, 7, 24}) {
      std::vector<PicturedError> errors;
      for (std::int64_t i = 0; i < count; ++i) {
        errors.push_back({random_picture(random, 28, 28, channels), static_cast<int>(i % 10), 7});
      }
      const Picture picture = draw_errors(errors);
      for (std::int64_t i = 0; i < count; ++i) {
        const Picture& image = errors[static_cast<std::size_t>(i)].picture;
        const std::int64_t left = 8 + i % 6 * 64, top = 8 + i / 6 * 82;
        for (std::int64_t y = 0; y < 56; ++y) {
          for (std::int64_t x = 0; x < 56; ++x) {
            const std::size_t pixel =
                static_cast<std::size_t>((y / 2 * 28 + x / 2) * image.channels);
            const std::size_t step = channels == 3 ? 1 : 0;
            ASSERT_EQ(at(picture, left + x, top + y),
                      (Color{image.pixels[pixel], image.pixels[pixel + step],
                             image.pixels[pixel + 2 * step]}));
          }
        }
        EXPECT_TRUE(colors_in(picture, left, top + 56, 28, 20).contains({22, 25, 29}));
        EXPECT_TRUE(colors_in(picture, left + 28, top + 56, 28, 20).contains({213, 94, 0}));
      }
    }
  }
}

}  // namespace
}  // namespace lockstep
