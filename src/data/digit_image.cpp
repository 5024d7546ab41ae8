#include "lockstep/data/digit_image.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <span>

#include "data/area_average.h"
#include "data/opaque_image.h"
#include "data/two_classes.h"
#include "lockstep/base/error.h"

namespace lockstep {

namespace {

using data::Box;
using data::Histogram;

constexpr std::int64_t kFittedSide = 20;
constexpr std::int64_t kMargin = (kDigitSide - kFittedSide) / 2;
// Classes whose means differ by less are the noise of an empty picture.
constexpr double kLeastContrast = 12;
// What is fainter than this share of the strokes' contrast does not count for the bounding box:
// less would let the ringing of JPEG count, more would cut faint ends off MNIST's own images.
constexpr double kFaintest = 0.08;
// A border that is mixed more evenly than this tells nothing.
constexpr double kClearMajority = 0.6;

/// Grey values with the ground dark.
struct Plane {
  std::int64_t height = 0;
  std::int64_t width = 0;
  std::vector<std::uint8_t> values;

  std::span<const std::uint8_t> row(std::int64_t y) const {
    return std::span(values).subspan(static_cast<std::size_t>(y * width),
                                     static_cast<std::size_t>(width));
  }
};

Histogram histogram_of(const Plane& plane) {
  Histogram histogram{};
  for (const std::uint8_t v : plane.values) ++histogram[v];
  return histogram;
}

// The share of the outermost pixels that is in the dark class.
double dark_border(const Plane& plane, int last_dark) {
  std::int64_t dark = 0;
  std::int64_t all = 0;
  for (std::int64_t y = 0; y < plane.height; ++y) {
    const bool whole = y == 0 || y == plane.height - 1;
    const std::int64_t step = whole ? 1 : std::max<std::int64_t>(plane.width - 1, 1);
    for (std::int64_t x = 0; x < plane.width; x += step) {
      dark += plane.row(y)[static_cast<std::size_t>(x)] <= last_dark ? 1 : 0;
      ++all;
    }
  }
  return static_cast<double>(dark) / static_cast<double>(all);
}

bool ground_is_light(const Plane& plane, const data::TwoClasses& classes, Invert invert) {
  if (invert != Invert::kAuto) return invert == Invert::kYes;
  const double dark = dark_border(plane, classes.last_dark);
  if (dark >= kClearMajority) return false;
  if (dark <= 1 - kClearMajority) return true;
  return classes.light_weight > classes.dark_weight;
}

// The value below which half of the weight of values 0 .. last lies.
double median(const Histogram& histogram, int last) {
  double all = 0;
  for (int v = 0; v <= last; ++v) all += histogram[static_cast<std::size_t>(v)];
  double below = 0;
  for (int v = 0; v < last; ++v) {
    below += histogram[static_cast<std::size_t>(v)];
    if (2 * below >= all) return v;
  }
  return last;
}

/// What a value means: 0 for ground, 1 for the strokes' mean.
struct Ink {
  std::array<double, 256> of{};
};

Ink ink_scale(const Histogram& histogram, const data::TwoClasses& classes) {
  const double ground = median(histogram, classes.last_dark);
  Histogram distance{};
  for (int v = 0; v <= classes.last_dark; ++v) {
    distance[static_cast<std::size_t>(std::abs(v - ground))] +=
        histogram[static_cast<std::size_t>(v)];
  }
  // Three standard deviations of normal noise, from its median absolute deviation; not so much that
  // shading of the ground eats the strokes.
  constexpr double kDeviations = 3 * 1.4826;
  const double contrast = classes.light - ground;
  const double floor = std::min(kDeviations * median(distance, 255), contrast / 2);
  Ink ink;
  for (std::size_t v = 0; v < ink.of.size(); ++v) {
    ink.of[v] = std::max(0.0, (static_cast<double>(v) - ground - floor) / (contrast - floor));
  }
  return ink;
}

Box bounding_box(const Plane& plane, const Ink& ink) {
  Box box{.top = plane.height, .left = plane.width, .bottom = 0, .right = 0};
  const auto counts = [&](std::uint8_t v) { return ink.of[v] >= kFaintest; };
  for (std::int64_t y = 0; y < plane.height; ++y) {
    const auto row = plane.row(y);
    const auto first = std::find_if(row.begin(), row.end(), counts);
    if (first == row.end()) continue;
    const auto last = std::find_if(row.rbegin(), row.rend(), counts);
    box.top = std::min(box.top, y);
    box.bottom = y + 1;
    box.left = std::min<std::int64_t>(box.left, first - row.begin());
    box.right = std::max<std::int64_t>(box.right, row.rend() - last);
  }
  LOCKSTEP_CHECK(box.bottom > 0, "no value is as strong as the mean of the strokes");
  return box;
}

// The sides of a box scaled so that the longer one is kFittedSide.
std::int64_t fitted(std::int64_t side, std::int64_t longer) {
  return std::max<std::int64_t>(1, (2 * side * kFittedSide + longer) / (2 * longer));
}

// Where to put the first of `size` rows so that the centre of mass comes to the middle: in MNIST it
// lies within [14, 15), counted from the picture's edge.
std::int64_t centred(double centre, std::int64_t size) {
  const auto offset = kDigitSide / 2 - static_cast<std::int64_t>(std::floor(centre));
  return std::clamp<std::int64_t>(offset, 0, kDigitSide - size);
}

/// A digit of rows x columns values with kMargin more on each side.
std::vector<std::uint8_t> place(const std::vector<double>& digit, std::int64_t rows,
                                std::int64_t columns) {
  const double strongest = *std::max_element(digit.begin(), digit.end());
  const std::int64_t stride = columns + 2 * kMargin;
  double mass = 0, mass_x = 0, mass_y = 0;
  for (std::size_t i = 0; i < digit.size(); ++i) {
    const auto y = static_cast<std::int64_t>(i) / stride - kMargin;
    const auto x = static_cast<std::int64_t>(i) % stride - kMargin;
    mass += digit[i];
    mass_x += digit[i] * (static_cast<double>(x) + 0.5);
    mass_y += digit[i] * (static_cast<double>(y) + 0.5);
  }
  const std::int64_t top = centred(mass_y / mass, rows) - kMargin;
  const std::int64_t left = centred(mass_x / mass, columns) - kMargin;
  std::vector<std::uint8_t> result(static_cast<std::size_t>(kDigitSide * kDigitSide));
  for (std::size_t i = 0; i < digit.size(); ++i) {
    const std::int64_t y = top + static_cast<std::int64_t>(i) / stride;
    const std::int64_t x = left + static_cast<std::int64_t>(i) % stride;
    if (y < 0 || y >= kDigitSide || x < 0 || x >= kDigitSide) continue;
    result[static_cast<std::size_t>(y * kDigitSide + x)] =
        static_cast<std::uint8_t>(std::lround(255 * digit[i] / strongest));
  }
  return result;
}

}  // namespace

std::vector<std::uint8_t> digit_image(const Image& image, Invert invert) {
  const Image opaque = data::without_alpha(image);
  Plane plane{
      .height = image.height, .width = image.width, .values = data::strongest_contrast(opaque)};
  Histogram histogram = histogram_of(plane);
  auto classes = data::two_classes(histogram);
  if (!classes || classes->light - classes->dark < kLeastContrast) {
    return std::vector<std::uint8_t>(static_cast<std::size_t>(kDigitSide * kDigitSide));
  }
  if (ground_is_light(plane, *classes, invert)) {
    for (std::uint8_t& v : plane.values) v = static_cast<std::uint8_t>(255 - v);
    std::reverse(histogram.begin(), histogram.end());
    classes = data::two_classes(histogram);
  }
  const Ink ink = ink_scale(histogram, *classes);
  const Box box = bounding_box(plane, ink);
  const std::int64_t longer = std::max(box.height(), box.width());
  const std::int64_t rows = fitted(box.height(), longer);
  const std::int64_t columns = fitted(box.width(), longer);
  return place(data::area_average(plane.values, plane.height, plane.width, 1, box, rows, columns,
                                  kMargin, ink.of),
               rows, columns);
}

std::vector<std::uint8_t> resized_image(const Image& image, std::int64_t channels,
                                        std::int64_t height, std::int64_t width, bool invert) {
  LOCKSTEP_CHECK(channels == 1 || channels == 3, "{} channels", channels);
  const Image opaque = data::without_alpha(image);
  const std::vector<std::uint8_t> grey =
      channels == 1 ? data::brightness(opaque) : std::vector<std::uint8_t>{};
  const std::vector<std::uint8_t>& values = channels == 1 ? grey : opaque.pixels;
  const std::int64_t stride = channels == 1 ? 1 : opaque.channels;
  std::array<double, 256> meaning{};
  for (std::size_t v = 0; v < meaning.size(); ++v) {
    meaning[v] = static_cast<double>(invert ? 255 - v : v);
  }
  const Box all{.top = 0, .left = 0, .bottom = image.height, .right = image.width};
  std::vector<std::uint8_t> result;
  result.reserve(static_cast<std::size_t>(channels * height * width));
  for (std::int64_t channel = 0; channel < channels; ++channel) {
    const auto first = static_cast<std::size_t>(channel % stride);
    for (const double value :
         data::area_average(std::span(values).subspan(first), image.height, image.width, stride,
                            all, height, width, 0, meaning)) {
      result.push_back(static_cast<std::uint8_t>(std::lround(value)));
    }
  }
  return result;
}

}  // namespace lockstep
