#include "lockstep/records/picture.h"

#include <fmt/format.h>
#include <png.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <utility>

#include "lockstep/base/cast.h"
#include "lockstep/base/error.h"

namespace lockstep {

namespace {

using Color = std::array<std::uint8_t, 3>;
constexpr Color kWash{245, 247, 249}, kInk{22, 25, 29}, kQuiet{86, 93, 102};
// Of the palette of reports.
constexpr Color kRight{204, 227, 240}, kWrong{213, 94, 0};

// Digits of 3 x 5 points, a row an octal digit.
constexpr std::array<unsigned, 10> kDigits{075557, 026227, 071747, 071717, 055711,
                                           074717, 074757, 071111, 075757, 075717};
constexpr std::int64_t kPoint = 2;  // pixels
constexpr std::int64_t kDigitWidth = 4 * kPoint, kDigitHeight = 5 * kPoint;

class Canvas {
 public:
  Canvas(std::int64_t width, std::int64_t height)
      : picture_{.width = width,
                 .height = height,
                 .channels = 3,
                 .pixels = std::vector<std::uint8_t>(checked_cast<std::size_t>(3 * width * height),
                                                     255)} {}

  void fill(std::int64_t left, std::int64_t top, std::int64_t width, std::int64_t height,
            Color color) {
    for (std::int64_t y = top; y < top + height; ++y) {
      for (std::int64_t x = left; x < left + width; ++x) set(x, y, color);
    }
  }

  void number(std::int64_t center, std::int64_t top, std::int64_t value, Color color) {
    const std::string text = std::to_string(value);
    std::int64_t left = center - (std::ssize(text) * kDigitWidth - kPoint) / 2;
    for (const char digit : text) {
      const unsigned rows = kDigits.at(checked_cast<std::size_t>(digit - '0'));
      for (std::int64_t point = 0; point < 15; ++point) {
        if ((rows >> (14 - point) & 1) == 0) continue;
        fill(left + point % 3 * kPoint, top + point / 3 * kPoint, kPoint, kPoint, color);
      }
      left += kDigitWidth;
    }
  }

  /// Each pixel as `scale` x `scale`.
  void image(std::int64_t left, std::int64_t top, const Picture& image, std::int64_t scale) {
    const auto channels = checked_cast<std::size_t>(image.channels);
    std::size_t at = 0;
    for (std::int64_t y = 0; y < image.height; ++y) {
      for (std::int64_t x = 0; x < image.width; ++x, at += channels) {
        Color color{};
        for (std::size_t c = 0; c < 3; ++c) color[c] = image.pixels[at + std::min(c, channels - 1)];
        fill(left + x * scale, top + y * scale, scale, scale, color);
      }
    }
  }

  Picture take() { return std::move(picture_); }

 private:
  void set(std::int64_t x, std::int64_t y, Color color) {
    LOCKSTEP_CHECK(x >= 0 && y >= 0 && x < picture_.width && y < picture_.height,
                   "a point outside of a picture: {}, {}", x, y);
    const auto at = checked_cast<std::size_t>(3 * (y * picture_.width + x));
    std::ranges::copy(color, picture_.pixels.begin() + checked_cast<std::ptrdiff_t>(at));
  }

  Picture picture_;
};

void require_whole(const Picture& picture) {
  LOCKSTEP_CHECK(
      (picture.channels == 1 || picture.channels == 3) && picture.width > 0 && picture.height > 0 &&
          std::ssize(picture.pixels) == picture.channels * picture.width * picture.height,
      "a picture of {} x {} with {} channels in {} bytes", picture.width, picture.height,
      picture.channels, picture.pixels.size());
}

// Between paper and orange; a single error is well visible.
Color shade(std::int64_t samples, std::int64_t most) {
  const double share =
      0.1 + 0.55 * std::log1p(static_cast<double>(samples)) / std::log1p(static_cast<double>(most));
  Color color{};
  for (std::size_t c = 0; c < 3; ++c) {
    color[c] = static_cast<std::uint8_t>(std::lround(255 + share * (kWrong[c] - 255)));
  }
  return color;
}

}  // namespace

Picture picture_of_planes(std::span<const std::uint8_t> planes, std::int64_t channels,
                          std::int64_t height, std::int64_t width) {
  Picture picture{.width = width,
                  .height = height,
                  .channels = checked_cast<int>(channels),
                  .pixels = std::vector<std::uint8_t>(planes.size())};
  require_whole(picture);
  const auto all = checked_cast<std::size_t>(channels);
  const auto plane = checked_cast<std::size_t>(height * width);
  for (std::size_t pixel = 0; pixel < plane; ++pixel) {
    for (std::size_t channel = 0; channel < all; ++channel) {
      picture.pixels[pixel * all + channel] = planes[channel * plane + pixel];
    }
  }
  return picture;
}

std::vector<std::byte> encode_png(const Picture& picture) {
  require_whole(picture);
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  image.width = checked_cast<png_uint_32>(picture.width);
  image.height = checked_cast<png_uint_32>(picture.height);
  image.format = picture.channels == 1 ? PNG_FORMAT_GRAY : PNG_FORMAT_RGB;
  png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(image);
  std::vector<std::byte> file(size);
  const int done =
      ::png_image_write_to_memory(&image, file.data(), &size, 0, picture.pixels.data(), 0, nullptr);
  LOCKSTEP_CHECK(done != 0, "libpng: {}", image.message);
  file.resize(size);
  return file;
}

Picture draw_confusion(std::span<const std::vector<std::int64_t>> confusion) {
  constexpr std::int64_t kCell = 46, kHead = 24;
  const std::int64_t classes = std::ssize(confusion);
  LOCKSTEP_CHECK(classes > 0, "a confusion matrix of {} classes", classes);
  std::int64_t most = 1;
  for (std::int64_t label = 0; label < classes; ++label) {
    const auto& row = confusion[checked_cast<std::size_t>(label)];
    LOCKSTEP_CHECK(std::ssize(row) == classes, "{} columns of {}", row.size(), classes);
    for (std::int64_t predicted = 0; predicted < classes; ++predicted) {
      if (predicted != label) most = std::max(most, row[checked_cast<std::size_t>(predicted)]);
    }
  }
  Canvas canvas(kHead + classes * kCell, kHead + classes * kCell);
  for (std::int64_t label = 0; label < classes; ++label) {
    const std::int64_t top = kHead + label * kCell, text = (kCell - kDigitHeight) / 2;
    canvas.number(kHead / 2, top + text, label, kQuiet);
    canvas.number(top + kCell / 2, (kHead - kDigitHeight) / 2, label, kQuiet);
    for (std::int64_t predicted = 0; predicted < classes; ++predicted) {
      const std::int64_t left = kHead + predicted * kCell;
      const std::int64_t samples =
          confusion[checked_cast<std::size_t>(label)][checked_cast<std::size_t>(predicted)];
      const Color color = predicted == label ? kRight : samples > 0 ? shade(samples, most) : kWash;
      canvas.fill(left + 1, top + 1, kCell - 2, kCell - 2, color);
      // More digits than there is room for are left to the records.
      if (samples > 0 && samples < 100'000) {
        canvas.number(left + kCell / 2, top + text, samples, kInk);
      }
    }
  }
  return canvas.take();
}

Picture draw_errors(std::span<const PicturedError> errors) {
  constexpr std::int64_t kColumns = 6, kGap = 8, kLarge = 64;
  LOCKSTEP_CHECK(!errors.empty(), "no errors to draw");
  const Picture& first = errors[0].picture;
  const std::int64_t scale = std::max(first.width, first.height) < kLarge ? 2 : 1;
  const std::int64_t width = scale * first.width + kGap;
  const std::int64_t height = scale * first.height + kDigitHeight + 2 * kGap;
  const std::int64_t columns = std::min(kColumns, std::ssize(errors));
  Canvas canvas(kGap + columns * width,
                kGap + (std::ssize(errors) + columns - 1) / columns * height);
  for (std::int64_t i = 0; i < std::ssize(errors); ++i) {
    const PicturedError& error = errors[checked_cast<std::size_t>(i)];
    require_whole(error.picture);
    LOCKSTEP_CHECK(error.picture.width == first.width && error.picture.height == first.height,
                   "images of different sizes");
    const std::int64_t left = kGap + i % columns * width, top = kGap + i / columns * height;
    canvas.image(left, top, error.picture, scale);
    const std::int64_t text = top + scale * first.height + kGap / 2;
    const std::int64_t quarter = scale * first.width / 4;
    canvas.number(left + quarter, text, error.label, kInk);
    canvas.number(left + 3 * quarter, text, error.predicted, kWrong);
  }
  return canvas.take();
}

}  // namespace lockstep
