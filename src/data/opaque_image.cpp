#include "data/opaque_image.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <utility>

#include "data/two_classes.h"
#include "lockstep/base/error.h"

namespace lockstep::data {

namespace {

using Colour = std::array<double, 3>;

constexpr Colour kBrightness{0.299, 0.587, 0.114};
// Less difference between light and dark parts than this is shading within one colour.
constexpr double kOwnContrast = 64;
// A stroke alone covers less of the picture than this; its edges may have been drawn onto another
// ground and differ in brightness.
constexpr double kOwnShare = 0.4;

double dot(const Colour& a, const Colour& b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }

Colour colour_of(const std::uint8_t* pixel) {
  return {static_cast<double>(pixel[0]), static_cast<double>(pixel[1]),
          static_cast<double>(pixel[2])};
}

double brightness_of(const std::uint8_t* pixel, std::int64_t channels) {
  return channels < 3 ? pixel[0] : dot(colour_of(pixel), kBrightness);
}

std::uint8_t rounded(double value) {
  return static_cast<std::uint8_t>(std::lround(std::clamp(value, 0.0, 255.0)));
}

// The colour under the transparent parts.
Colour ground_under(const Image& image) {
  constexpr Colour kBlack{0, 0, 0};
  constexpr Colour kWhite{255, 255, 255};
  const auto step = static_cast<std::size_t>(image.channels);
  Histogram histogram{};
  for (std::size_t i = 0; i < image.pixels.size(); i += step) {
    const std::uint8_t* pixel = image.pixels.data() + i;
    histogram[rounded(brightness_of(pixel, image.channels))] += pixel[step - 1];
  }
  const auto classes = two_classes(histogram);
  double sum = 0;
  double weight = 0;
  for (std::size_t v = 0; v < histogram.size(); ++v) {
    weight += histogram[v];
    sum += histogram[v] * static_cast<double>(v);
  }
  const double opaque_share = weight / 255 / static_cast<double>(image.height * image.width);
  const bool own_picture =
      classes && classes->light - classes->dark >= kOwnContrast && opaque_share >= kOwnShare;
  if (!own_picture) return sum >= 127.5 * weight ? kBlack : kWhite;
  // What is there most often is there exactly.
  const bool dark_is_larger = classes->dark_weight > classes->light_weight;
  const auto middle = histogram.begin() + classes->last_dark + 1;
  const auto most = dark_is_larger ? std::max_element(histogram.begin(), middle)
                                   : std::max_element(middle, histogram.end());
  Colour mean{};
  double share = 0;
  for (std::size_t i = 0; i < image.pixels.size(); i += step) {
    const std::uint8_t* pixel = image.pixels.data() + i;
    if (rounded(brightness_of(pixel, image.channels)) != most - histogram.begin()) continue;
    for (std::size_t c = 0; c < 3; ++c) {
      mean[c] += static_cast<double>(pixel[step < 3 ? 0 : c]) * pixel[step - 1];
    }
    share += pixel[step - 1];
  }
  for (double& value : mean) value /= share;
  return mean;
}

struct Moments {
  Colour mean{};
  std::array<Colour, 3> covariance{};
};

Moments moments_of(const Image& image) {
  Moments m;
  for (std::size_t i = 0; i < image.pixels.size(); i += 3) {
    const Colour colour = colour_of(image.pixels.data() + i);
    for (std::size_t a = 0; a < 3; ++a) {
      m.mean[a] += colour[a];
      for (std::size_t b = 0; b < 3; ++b) m.covariance[a][b] += colour[a] * colour[b];
    }
  }
  const std::size_t pixels = image.pixels.size() / 3;
  const auto count = static_cast<double>(pixels);
  for (double& value : m.mean) value /= count;
  for (std::size_t a = 0; a < 3; ++a) {
    for (std::size_t b = 0; b < 3; ++b) {
      m.covariance[a][b] = m.covariance[a][b] / count - m.mean[a] * m.mean[b];
    }
  }
  return m;
}

// By power iteration from each of the three axes, since one alone may be orthogonal to the result.
Colour principal_axis(const std::array<Colour, 3>& covariance) {
  constexpr int kIterations = 64;
  Colour best{1, 1, 1};
  double best_variance = 0;
  for (std::size_t start = 0; start < 3; ++start) {
    Colour axis = covariance[start];
    double length = std::sqrt(dot(axis, axis));
    for (int i = 0; i < kIterations && length > 0; ++i) {
      for (double& value : axis) value /= length;
      axis = {dot(covariance[0], axis), dot(covariance[1], axis), dot(covariance[2], axis)};
      length = std::sqrt(dot(axis, axis));
    }
    if (length <= best_variance) continue;
    best_variance = length;
    best = axis;
  }
  const double length = std::sqrt(dot(best, best));
  const double sign = dot(best, kBrightness) < 0 ? -1 : 1;
  for (double& value : best) value *= sign / length;
  return best;
}

}  // namespace

Image without_alpha(Image image) {
  if (!image.has_alpha()) return image;
  const Colour ground = ground_under(image);
  const auto step = static_cast<std::size_t>(image.channels);
  std::uint8_t* out = image.pixels.data();
  for (std::size_t i = 0; i < image.pixels.size(); i += step) {
    const double alpha = image.pixels[i + step - 1] / 255.0;
    for (std::size_t c = 0; c + 1 < step; ++c) {
      *out++ = rounded(alpha * image.pixels[i + c] + (1 - alpha) * ground[c]);
    }
  }
  --image.channels;
  image.pixels.resize(image.pixels.size() / step * (step - 1));
  return image;
}

std::vector<std::uint8_t> brightness(const Image& image) {
  LOCKSTEP_CHECK(!image.has_alpha(), "an image with alpha");
  if (image.channels == 1) return image.pixels;
  std::vector<std::uint8_t> grey;
  grey.reserve(image.pixels.size() / 3);
  for (std::size_t i = 0; i < image.pixels.size(); i += 3) {
    grey.push_back(rounded(brightness_of(image.pixels.data() + i, image.channels)));
  }
  return grey;
}

std::vector<std::uint8_t> strongest_contrast(const Image& image) {
  LOCKSTEP_CHECK(!image.has_alpha(), "an image with alpha");
  if (image.channels == 1) return image.pixels;
  const Colour axis = principal_axis(moments_of(image).covariance);
  std::vector<std::uint8_t> grey;
  grey.reserve(image.pixels.size() / 3);
  for (std::size_t i = 0; i < image.pixels.size(); i += 3) {
    Colour colour = colour_of(image.pixels.data() + i);
    for (double& value : colour) value -= 127.5;
    // No corner of the colour cube lies farther than 127.5 sqrt(3) from its middle.
    grey.push_back(rounded(127.5 + dot(colour, axis) / std::numbers::sqrt3));
  }
  return grey;
}

}  // namespace lockstep::data
