// What follows a convolution on a GPU - bias, ReLU, 2x2 maxima, dropout - in one pass over memory,
// and the same backwards: convolution_epilogue.cu, or no_convolution_epilogue.cpp in a build
// without CUDA. Images are channels first, contiguous.
#pragma once

#include <cstdint>

#include "lockstep/base/element.h"

namespace lockstep::epilogue {

/// Of the convolution's output [batch, channels, height, width]; a plane is of one image and one
/// channel, and has less than 2^31 pixels.
struct Shape {
  std::int64_t batch = 0;
  std::int64_t channels = 0;
  int height = 0;
  int width = 0;
  LOCKSTEP_ELEMENT std::int64_t planes() const { return batch * channels; }
  LOCKSTEP_ELEMENT int pixels() const { return height * width; }
  /// Of the maxima; a last odd row or column has none.
  LOCKSTEP_ELEMENT int pooled_height() const { return height / 2; }
  LOCKSTEP_ELEMENT int pooled_width() const { return width / 2; }
  LOCKSTEP_ELEMENT int pooled_pixels() const { return pooled_height() * pooled_width(); }
};

/// A NaN stays one, and -0 becomes 0: as LibTorch's.
LOCKSTEP_ELEMENT float relu(float x) { return x < 0 || x == 0 ? 0 : x; }

/// In a route, beside the place of the maximum in its 2x2 window, 0 to 3: its gradient goes on to
/// there.
constexpr unsigned kPasses = 4;

// Each of these is a pass; its plane(), called with one of 0 .. elements() - 1, does one element.

/// x = relu(x + bias), in place.
struct Relu {
  Shape shape;
  float* x;           ///< [batch, channels, height, width]
  const float* bias;  ///< [channels]

  struct Plane {
    float* x;
    float bias;
    LOCKSTEP_ELEMENT void operator()(int i) const { x[i] = relu(x[i] + bias); }
  };
  LOCKSTEP_ELEMENT int elements() const { return shape.pixels(); }
  LOCKSTEP_ELEMENT Plane plane(std::int64_t number) const {
    return {x + number * shape.pixels(), bias[number % shape.channels]};
  }
};

/// The same, then the maximum of each window (the first of equal ones, or a NaN), then dropout.
struct ReluPool {
  Shape shape;
  const float* x;            ///< [batch, channels, height, width]
  const float* bias;         ///< [channels]
  const std::uint8_t* keep;  ///< [batch, pooled height, pooled width, channels]; null: no dropout
  float scale;               ///< of what is kept
  float* y;                  ///< [batch, channels, pooled height, pooled width]
  std::uint8_t* routes;      ///< the same; null: there is no way back

  struct Plane {
    const float* x;
    float bias;
    const std::uint8_t* keep;
    int channels;
    float scale;
    float* y;
    std::uint8_t* routes;
    int width, pooled_width;

    LOCKSTEP_ELEMENT void operator()(int i) const {
      const int row = i / pooled_width;
      const int first = 2 * (row * width + (i - row * pooled_width));
      const float* window = x + first;
      float best = relu(window[0] + bias);
      unsigned place = 0;
      for (unsigned k = 1; k < 4; ++k) {
        const float value = relu(window[k / 2 * static_cast<unsigned>(width) + k % 2] + bias);
        if (!(value > best) && value == value) continue;
        best = value;
        place = k;
      }
      bool passes = !(best <= 0);
      if (keep != nullptr) {
        const bool kept = keep[static_cast<std::int64_t>(i) * channels] != 0;
        best = kept ? best * scale : 0;
        passes = passes && kept;
      }
      y[i] = best;
      if (routes != nullptr) {
        routes[i] = static_cast<std::uint8_t>(passes ? place | kPasses : place);
      }
    }
  };
  LOCKSTEP_ELEMENT int elements() const { return shape.pooled_pixels(); }
  LOCKSTEP_ELEMENT Plane plane(std::int64_t number) const {
    const std::int64_t image = number / shape.channels, channel = number % shape.channels;
    const std::int64_t out = number * shape.pooled_pixels();
    return {
        x + number * shape.pixels(),
        bias[channel],
        keep == nullptr ? nullptr : keep + image * shape.channels * shape.pooled_pixels() + channel,
        static_cast<int>(shape.channels),
        scale,
        y + out,
        routes == nullptr ? nullptr : routes + out,
        shape.width,
        shape.pooled_width()};
  }
};

/// An element of the gradient of the convolution's output, which it returns, too.
struct ReluBackward {
  Shape shape;
  const float* y;         ///< what Relu has left
  const float* gradient;  ///< of it
  float* dx;              ///< [batch, channels, height, width]

  struct Plane {
    const float* y;
    const float* gradient;
    float* dx;
    LOCKSTEP_ELEMENT float operator()(int i) const { return dx[i] = y[i] <= 0 ? 0 : gradient[i]; }
  };
  LOCKSTEP_ELEMENT int elements() const { return shape.pixels(); }
  LOCKSTEP_ELEMENT Plane plane(std::int64_t number) const {
    const std::int64_t first = number * shape.pixels();
    return {y + first, gradient + first, dx + first};
  }
};

struct ReluPoolBackward {
  Shape shape;
  const std::uint8_t* routes;
  const float* gradient;  ///< [batch, channels, pooled height, pooled width]
  float scale;            ///< as forward
  float* dx;              ///< [batch, channels, height, width]

  struct Plane {
    const std::uint8_t* routes;
    const float* gradient;
    float scale;
    float* dx;
    int width, pooled_height, pooled_width;

    LOCKSTEP_ELEMENT float operator()(int i) const {
      const int row = i / width, column = i - row * width;
      float value = 0;
      if (row / 2 < pooled_height && column / 2 < pooled_width) {
        const int from = row / 2 * pooled_width + column / 2;
        const auto place = static_cast<unsigned>(row % 2 * 2 + column % 2);
        if (routes[from] == (place | kPasses)) value = gradient[from] * scale;
      }
      return dx[i] = value;
    }
  };
  LOCKSTEP_ELEMENT int elements() const { return shape.pixels(); }
  LOCKSTEP_ELEMENT Plane plane(std::int64_t number) const {
    const std::int64_t from = number * shape.pooled_pixels();
    return {routes + from,
            gradient + from,
            scale,
            dx + number * shape.pixels(),
            shape.width,
            shape.pooled_height(),
            shape.pooled_width()};
  }
};

// All pointers on the current device, `stream` a cudaStream_t of it. They throw
// Error{kUnavailable} when CUDA fails.

void run(const Relu& pass, void* stream);
void run(const ReluPool& pass, void* stream);
/// bias_gradient: [channels], the sums of dx, always in the same order; sums: [batch, channels],
/// for the call's own use.
void run(const ReluBackward& pass, float* sums, float* bias_gradient, void* stream);
void run(const ReluPoolBackward& pass, float* sums, float* bias_gradient, void* stream);

}  // namespace lockstep::epilogue
