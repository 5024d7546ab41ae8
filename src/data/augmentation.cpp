#include "lockstep/data/augmentation.h"

#include <array>
#include <cmath>
#include <numbers>

#include "lockstep/base/error.h"
#include "lockstep/base/random.h"

namespace lockstep {

namespace {

// Uniform and symmetric in (-1, 1).
double uniform_symmetric(std::uint32_t word) {
  return (static_cast<double>(word) + 0.5) * 0x1p-31 - 1.0;
}

// Coordinates are fixed-point numbers with 32 bits after the point: adding a step is exact, so a
// pixel's position does not depend on how far the loop has come, and rounding down is a shift.
std::int64_t to_fixed(double value) { return std::llround(value * 0x1p32); }
std::int64_t whole(std::int64_t fixed) { return fixed >> 32; }
// To 24 bits, which a float holds exactly.
float fraction(std::int64_t fixed) {
  const auto bits = static_cast<std::int32_t>(static_cast<std::uint32_t>(fixed) >> 8);
  return static_cast<float>(bits) * 0x1p-24f;
}

float interpolate(float x, float y, float top_left, float top_right, float bottom_left,
                  float bottom_right) {
  const float top = top_left + x * (top_right - top_left);
  const float bottom = bottom_left + x * (bottom_right - bottom_left);
  return top + y * (bottom - top);
}

// At the image's border, or outside: every one of the four pixels around is checked.
float interpolate_checked(const float* in, std::int64_t height, std::int64_t width, std::int64_t x,
                          std::int64_t y) {
  const auto pixel = [&](std::int64_t row, std::int64_t column) {
    const bool inside = row >= 0 && row < height && column >= 0 && column < width;
    return inside ? in[row * width + column] : 0.0f;
  };
  const std::int64_t row = whole(y);
  const std::int64_t column = whole(x);
  return interpolate(fraction(x), fraction(y), pixel(row, column), pixel(row, column + 1),
                     pixel(row + 1, column), pixel(row + 1, column + 1));
}

}  // namespace

Affine draw_affine(const AugmentationOptions& options, std::uint64_t seed, std::uint32_t epoch,
                   std::uint64_t sample, double height_over_width) {
  const RandomKey key{
      .seed = seed, .purpose = Purpose::kAugmentation, .epoch = epoch, .sample = sample};
  std::array<std::uint32_t, 5> words;
  fill_random_words(key, words);
  const double angle = uniform_symmetric(words[0]) * options.rotation * (std::numbers::pi / 180.0);
  const double zoom_x = 1.0 + uniform_symmetric(words[1]) * options.zoom;
  const double zoom_y = 1.0 + uniform_symmetric(words[2]) * options.zoom;
  // The whole image is 2 wide in normalised coordinates.
  const double shift_x = 2.0 * uniform_symmetric(words[3]) * options.shift_x;
  const double shift_y = 2.0 * uniform_symmetric(words[4]) * options.shift_y;

  const double cosine = std::cos(angle);
  const double sine_x = -std::sin(angle) * height_over_width;
  const double sine_y = std::sin(angle) / height_over_width;
  return {.a = cosine * zoom_x,
          .b = sine_x * zoom_y,
          .tx = cosine * shift_x + sine_x * shift_y,
          .c = sine_y * zoom_x,
          .d = cosine * zoom_y,
          .ty = sine_y * shift_x + cosine * shift_y};
}

void warp(const float* in, float* out, std::int64_t channels, std::int64_t height,
          std::int64_t width, const Affine& affine) {
  const auto h = static_cast<double>(height);
  const auto w = static_cast<double>(width);
  // Pixel i of n lies at (2 i + 1) / n - 1: this is the same map in pixels.
  const double x_per_column = affine.a;
  const double x_per_row = affine.b * w / h;
  const double x_origin =
      0.5 * (affine.a * (1.0 - w) + affine.b * (w / h - w) + affine.tx * w + w - 1.0);
  const double y_per_column = affine.c * h / w;
  const double y_per_row = affine.d;
  const double y_origin =
      0.5 * (affine.c * (h / w - h) + affine.d * (1.0 - h) + affine.ty * h + h - 1.0);

  constexpr double kMost = 0x1p30;
  LOCKSTEP_CHECK(
      std::abs(x_origin) + std::abs(x_per_column) * w + std::abs(x_per_row) * h < kMost &&
          std::abs(y_origin) + std::abs(y_per_column) * w + std::abs(y_per_row) * h < kMost,
      "a map that leads too far from an image of {} x {}", height, width);

  const std::int64_t x_step = to_fixed(x_per_column);
  const std::int64_t y_step = to_fixed(y_per_column);
  // Below these, unsigned, a coordinate has both its neighbours inside.
  const auto x_inside = static_cast<std::uint64_t>(to_fixed(w - 1.0));
  const auto y_inside = static_cast<std::uint64_t>(to_fixed(h - 1.0));
  for (std::int64_t channel = 0; channel < channels; ++channel) {
    for (std::int64_t row = 0; row < height; ++row) {
      std::int64_t x = to_fixed(x_origin + x_per_row * static_cast<double>(row));
      std::int64_t y = to_fixed(y_origin + y_per_row * static_cast<double>(row));
      for (std::int64_t column = 0; column < width; ++column) {
        if (static_cast<std::uint64_t>(x) < x_inside && static_cast<std::uint64_t>(y) < y_inside) {
          const float* top = in + whole(y) * width + whole(x);
          const float* bottom = top + width;
          *out++ = interpolate(fraction(x), fraction(y), top[0], top[1], bottom[0], bottom[1]);
        } else {
          *out++ = interpolate_checked(in, height, width, x, y);
        }
        x += x_step;
        y += y_step;
      }
    }
    in += height * width;
  }
}

}  // namespace lockstep
