#include "lockstep/data/digit_image.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <numeric>

#include "files.h"
#include "lockstep/base/random.h"
#include "picture_files.h"

namespace lockstep::data_test {
namespace {

using Pixels = std::vector<std::uint8_t>;

constexpr std::int64_t kSide = 28;
constexpr std::int64_t kCount = 500;

const Dataset& mnist() {
  static const Dataset data =
      load_dataset(embedded_data_directory(), Part::kTest, Labels::kRequired);
  return data;
}

Image mnist_image(std::int64_t n) {
  const auto first = mnist().pixels.begin() + n * kSide * kSide;
  return {.height = kSide, .width = kSide, .channels = 1, .pixels = {first, first + kSide * kSide}};
}

double mean_difference(const Pixels& a, const Pixels& b) {
  EXPECT_EQ(a.size(), b.size());
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += std::abs(a[i] - b[i]);
  return sum / static_cast<double>(a.size());
}

int greatest_difference(const Pixels& a, const Pixels& b) {
  int most = 0;
  for (std::size_t i = 0; i < a.size(); ++i) most = std::max(most, std::abs(a[i] - b[i]));
  return most;
}

Image enlarged(const Image& image, std::int64_t height, std::int64_t width) {
  return make_image(height, width, image.channels, [&](auto y, auto x, auto c) {
    const std::int64_t row = y * image.height / height;
    const std::int64_t column = x * image.width / width;
    return image
        .pixels[static_cast<std::size_t>((row * image.width + column) * image.channels + c)];
  });
}

Image inverted(Image image) {
  for (std::uint8_t& v : image.pixels) v = static_cast<std::uint8_t>(255 - v);
  return image;
}

Image padded(const Image& image, std::int64_t top, std::int64_t left, std::int64_t bottom,
             std::int64_t right, int ground) {
  return make_image(
      image.height + top + bottom, image.width + left + right, 1, [&](auto y, auto x, auto) {
        const std::int64_t row = y - top;
        const std::int64_t column = x - left;
        const bool inside = row >= 0 && row < image.height && column >= 0 && column < image.width;
        return inside ? static_cast<int>(
                            image.pixels[static_cast<std::size_t>(row * image.width + column)])
                      : ground;
      });
}

// From `ground` at 0 to `stroke` at 255.
Image coloured(const Image& image, const std::array<int, 3>& ground,
               const std::array<int, 3>& stroke) {
  return make_image(image.height, image.width, 3, [&](auto y, auto x, auto c) {
    const double v = image.pixels[static_cast<std::size_t>(y * image.width + x)] / 255.0;
    const auto i = static_cast<std::size_t>(c);
    return static_cast<int>(std::lround(ground[i] + v * (stroke[i] - ground[i])));
  });
}

TEST(DigitImage, ImagesOfMnistStayAsTheyAre) {
  std::int64_t moved = 0;
  for (std::int64_t n = 0; n < kCount; ++n) {
    const Image image = mnist_image(n);
    const Pixels digit = digit_image(image, Invert::kAuto);
    // 0.8 % of them have an edge that is fainter than what counts.
    if (greatest_difference(digit, image.pixels) > 3) ++moved;
    EXPECT_LT(mean_difference(digit, image.pixels), 20) << n;
  }
  EXPECT_LE(moved, kCount / 50);
}

TEST(DigitImage, MakingADigitTwiceChangesLittle) {
  std::int64_t moved = 0;
  for (std::int64_t n = 0; n < kCount; ++n) {
    const Image image = enlarged(mnist_image(n), 61, 83);
    const Pixels once = digit_image(image, Invert::kAuto);
    const Pixels twice = digit_image(
        {.height = kSide, .width = kSide, .channels = 1, .pixels = once}, Invert::kAuto);
    // A centre of mass beside the border between two pixels may move by one.
    const double difference = mean_difference(once, twice);
    EXPECT_LT(difference, 20) << n;
    if (difference > 2) ++moved;
  }
  EXPECT_LE(moved, kCount * 3 / 100);
}

TEST(DigitImage, WholeEnlargementPaddingInversionAndColourMakeNoDifference) {
  std::int64_t scaled_otherwise = 0;
  for (std::int64_t n = 0; n < kCount; n += 5) {
    const Image image = mnist_image(n);
    const Pixels expected = digit_image(image, Invert::kAuto);
    const auto same = [&](const Image& other, const char* what, int most = 1) {
      const int difference = greatest_difference(digit_image(other, Invert::kAuto), expected);
      if (difference > 30) {  // an edge as faint as the limit counts here and not there
        ++scaled_otherwise;
      } else {
        EXPECT_LE(difference, most) << what << " " << n;
      }
    };
    for (const std::int64_t factor : {2, 3, 7}) {
      same(enlarged(image, factor * kSide, factor * kSide), "enlarged");
    }
    same(padded(image, 3, 11, 40, 0, 0), "padded");
    same(inverted(image), "inverted", 2);
    same(padded(inverted(image), 1, 2, 3, 4, 255), "inverted and padded", 2);
    same(inverted(enlarged(image, 56, 56)), "inverted and enlarged", 2);
    // A colour whose channels differ less than 255 has fewer steps.
    same(coloured(image, {255, 255, 255}, {0, 0, 255}), "blue on white", 3);
    same(coloured(image, {20, 40, 60}, {250, 240, 30}), "yellow on blue", 3);
    same(coloured(image, {200, 0, 0}, {0, 102, 0}), "green on a red as bright", 4);
    same(coloured(image, {120, 120, 120}, {160, 160, 160}), "little contrast", 14);
  }
  EXPECT_LE(scaled_otherwise, 2);
}

TEST(DigitImage, LiesAsMnistDoes) {
  std::int64_t of_other_size = 0;
  for (std::int64_t n = 0; n < kCount; ++n) {
    const Image image = enlarged(mnist_image(n), 200, 150);
    const Pixels digit = digit_image(image, Invert::kAuto);
    double mass = 0, mass_x = 0, mass_y = 0;
    std::int64_t top = kSide, left = kSide, bottom = 0, right = 0;
    for (std::int64_t y = 0; y < kSide; ++y) {
      for (std::int64_t x = 0; x < kSide; ++x) {
        const int v = digit[static_cast<std::size_t>(y * kSide + x)];
        mass += v;
        mass_x += v * (static_cast<double>(x) + 0.5);
        mass_y += v * (static_cast<double>(y) + 0.5);
        if (v < 24) continue;
        top = std::min(top, y), bottom = std::max(bottom, y + 1);
        left = std::min(left, x), right = std::max(right, x + 1);
      }
    }
    of_other_size += std::max(bottom - top, right - left) == 20 ? 0 : 1;
    EXPECT_NEAR(mass_x / mass, 14.5, 0.51) << n;
    EXPECT_NEAR(mass_y / mass, 14.5, 0.51) << n;
    EXPECT_EQ(*std::max_element(digit.begin(), digit.end()), 255);
  }
  EXPECT_LE(of_other_size, kCount * 3 / 100);  // those with a faint edge
}

TEST(DigitImage, SmoothEnlargementNoiseAndJpegChangeLittle) {
  constexpr std::int64_t kLarge = 160;
  double smooth_sum = 0, noise_sum = 0, jpeg_sum = 0;
  for (std::int64_t n = 0; n < kCount; n += 5) {
    const Image image = mnist_image(n);
    const auto at = [&](std::int64_t y, std::int64_t x) {
      const bool inside = y >= 0 && y < kSide && x >= 0 && x < kSide;
      return inside ? image.pixels[static_cast<std::size_t>(y * kSide + x)] / 1.0 : 0.0;
    };
    const Image smooth = make_image(kLarge, kLarge, 1, [&](auto y, auto x, auto) {
      const double v = (static_cast<double>(y) + 0.5) * kSide / kLarge - 0.5;
      const double u = (static_cast<double>(x) + 0.5) * kSide / kLarge - 0.5;
      const auto row = static_cast<std::int64_t>(std::floor(v));
      const auto column = static_cast<std::int64_t>(std::floor(u));
      const double b = v - static_cast<double>(row);
      const double a = u - static_cast<double>(column);
      return static_cast<int>((1 - b) * ((1 - a) * at(row, column) + a * at(row, column + 1)) +
                              b * ((1 - a) * at(row + 1, column) + a * at(row + 1, column + 1)));
    });
    // Paper that is shaded from one side to the other, and grainy.
    const Image photo = make_image(kLarge, kLarge, 1, [&](auto y, auto x, auto) {
      const RandomKey key{.seed = 5, .sample = static_cast<std::uint64_t>(y * kLarge + x)};
      const double grain = 12.0 * uniform_float(random_words(key, 0)[0]);
      const double paper = 190 + 0.25 * static_cast<double>(x) + grain;
      const double ink = smooth.pixels[static_cast<std::size_t>(y * kLarge + x)] / 255.0;
      return static_cast<int>(paper * (1 - 0.8 * ink));
    });
    const Pixels expected = image.pixels;
    smooth_sum += mean_difference(digit_image(smooth, Invert::kAuto), expected);
    noise_sum += mean_difference(digit_image(photo, Invert::kAuto), expected);
    const Image jpeg = decode_image(bytes_of(jpeg_file(inverted(smooth), {.quality = 60})), "jpeg");
    jpeg_sum += mean_difference(digit_image(jpeg, Invert::kAuto), expected);
  }
  // The images themselves have a mean of 33; another digit differs by 40.
  EXPECT_LT(smooth_sum / (kCount / 5), 9);
  EXPECT_LT(noise_sum / (kCount / 5), 12);
  EXPECT_LT(jpeg_sum / (kCount / 5), 10);
}

TEST(DigitImage, TransparentPartsAreGround) {
  for (std::int64_t n = 0; n < kCount; n += 10) {
    const Image image = mnist_image(n);
    const Pixels expected = digit_image(image, Invert::kAuto);
    const auto stroke = [&](auto y, auto x) {
      return static_cast<int>(image.pixels[static_cast<std::size_t>(y * kSide + x)]);
    };
    const auto same = [&](const Image& other, const char* what) {
      EXPECT_LE(greatest_difference(digit_image(other, Invert::kAuto), expected), 2)
          << what << " " << n;
    };
    for (const int colour : {0, 60, 255}) {
      same(make_image(kSide, kSide, 2,
                      [&](auto y, auto x, auto c) { return c == 0 ? colour : stroke(y, x); }),
           "a stroke on nothing");
    }
    same(make_image(
             kSide, kSide, 4,
             [&](auto y, auto x, auto c) { return c == 3 ? stroke(y, x) : (c == 0 ? 200 : 10); }),
         "a red stroke on nothing");
    // A white disc with a dark digit, its corners transparent (and black where they cannot be
    // seen).
    same(make_image(2 * kSide, 2 * kSide, 4,
                    [&](auto y, auto x, auto c) {
                      const std::int64_t dy = 2 * y - 2 * kSide + 1;
                      const std::int64_t dx = 2 * x - 2 * kSide + 1;
                      const bool inside = dy * dy + dx * dx < 4 * kSide * kSide;
                      const bool digit = std::abs(dy) < kSide && std::abs(dx) < kSide;
                      if (c == 3) return inside ? 255 : 0;
                      return !inside ? 0
                                     : (digit ? 255 - stroke(y - kSide / 2, x - kSide / 2) : 255);
                    }),
         "a disc");
  }
}

TEST(DigitImage, InversionCanBeSaid) {
  for (std::int64_t n = 0; n < 20; ++n) {
    const Image image = mnist_image(n);
    const Pixels expected = digit_image(image, Invert::kAuto);
    EXPECT_LE(greatest_difference(digit_image(image, Invert::kNo), expected), 1);
    EXPECT_LE(greatest_difference(digit_image(inverted(image), Invert::kYes), expected), 2);
    EXPECT_GT(mean_difference(digit_image(image, Invert::kYes), expected), 20);
    EXPECT_GT(mean_difference(digit_image(inverted(image), Invert::kNo), expected), 20);
  }
  // So closely cropped that the border is mostly stroke: the smaller part is still the stroke.
  const Image frame = make_image(20, 20, 1, [](auto y, auto x, auto) {
    return y >= 3 && y < 17 && x >= 3 && x < 17 ? 255 : 0;
  });
  EXPECT_EQ(digit_image(frame, Invert::kAuto)[14 * kSide + 14], 255);
  EXPECT_EQ(digit_image(frame, Invert::kYes)[14 * kSide + 14], 0);
}

TEST(DigitImage, EmptyTinyAndThinPictures) {
  const Pixels nothing(kSide * kSide);
  for (const std::int64_t channels : {1, 2, 3, 4}) {
    for (const int value : {0, 100, 255}) {
      for (const auto& [height, width] : {std::pair{1, 1}, {28, 28}, {1, 50}, {300, 2}}) {
        EXPECT_EQ(digit_image(
                      make_image(height, width, channels, [&](auto, auto, auto) { return value; }),
                      Invert::kAuto),
                  nothing);
      }
    }
  }
  const Image grain = make_image(50, 50, 1, [](auto y, auto x, auto) {
    return 128 + static_cast<int>((y * 31 + x * 17) % 7);
  });
  EXPECT_EQ(digit_image(grain, Invert::kAuto), nothing);
  // One pixel is scaled like any other shape.
  Image dot =
      make_image(28, 28, 1, [](auto y, auto x, auto) { return y == 3 && x == 5 ? 255 : 0; });
  Pixels digit = digit_image(dot, Invert::kAuto);
  EXPECT_EQ(std::accumulate(digit.begin(), digit.end(), 0), 20 * 20 * 255);
  // Two pixels, of which one is the ground and the other fills the box.
  digit = digit_image({.height = 1, .width = 2, .channels = 1, .pixels = {0, 255}}, Invert::kAuto);
  EXPECT_EQ(std::accumulate(digit.begin(), digit.end(), 0), 20 * 20 * 255);
  // A line of one pixel in a large picture stays a line, at full strength.
  const Image line = make_image(
      1000, 800, 1, [](auto y, auto x, auto) { return x == 400 && y > 100 && y < 900 ? 0 : 255; });
  digit = digit_image(line, Invert::kAuto);
  EXPECT_EQ(std::accumulate(digit.begin(), digit.end(), 0), 20 * 255);
  const Image ring = make_image(900, 900, 1, [](auto y, auto x, auto) {
    const double r = std::hypot(static_cast<double>(y) - 450, static_cast<double>(x) - 450);
    return std::abs(r - 300) < 1 ? 255 : 0;
  });
  digit = digit_image(ring, Invert::kAuto);
  EXPECT_EQ(*std::max_element(digit.begin(), digit.end()), 255);
  EXPECT_GT(std::count_if(digit.begin(), digit.end(), [](int v) { return v > 60; }), 40);
  EXPECT_EQ(digit[14 * kSide + 14], 0);
}

TEST(ResizedImage, KeepsTheWholePictureAndItsColours) {
  const Image image = make_image(
      4, 6, 3, [](auto y, auto x, auto c) { return static_cast<int>(40 * y + 10 * x + c); });
  const Pixels same = resized_image(image, 3, 4, 6, false);
  for (std::size_t c = 0; c < 3; ++c) {
    for (std::size_t i = 0; i < 24; ++i) EXPECT_EQ(same[c * 24 + i], image.pixels[3 * i + c]);
  }
  const Pixels half = resized_image(image, 3, 2, 3, false);
  for (std::size_t c = 0; c < 3; ++c) EXPECT_EQ(half[c * 6], (0 + 10 + 40 + 50) / 4 + c);
  const Pixels enlarged_values = resized_image(image, 3, 8, 12, false);
  for (std::size_t i : {0u, 1u, 12u, 13u}) EXPECT_EQ(enlarged_values[i], image.pixels[0]);
  const Pixels grey = resized_image(image, 1, 4, 6, false);
  EXPECT_EQ(grey[7], static_cast<int>(std::lround(50 + 0.587 + 2 * 0.114)));
  const Pixels negative = resized_image(image, 1, 4, 6, true);
  for (std::size_t i = 0; i < grey.size(); ++i) EXPECT_EQ(negative[i], 255 - grey[i]);
  const Image one = make_image(5, 5, 1, [](auto y, auto, auto) { return static_cast<int>(y); });
  const Pixels repeated = resized_image(one, 3, 5, 5, false);
  for (std::size_t i = 0; i < 25; ++i) EXPECT_EQ(repeated[i], repeated[50 + i]);
}

}  // namespace
}  // namespace lockstep::data_test
