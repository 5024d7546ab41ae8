// What follows a convolution on a GPU - bias, ReLU, 2x2 maxima, dropout - in one pass over memory,
// and the same backwards: convolution_epilogue.cu, or no_convolution_epilogue.cpp in a build
// without CUDA. Images are channels first, contiguous.
#pragma once

#include <cstdint>

#ifdef __CUDACC__
#define LOCKSTEP_HOST_DEVICE __host__ __device__
#else
#define LOCKSTEP_HOST_DEVICE
#endif

namespace lockstep::epilogue {

/// Of the convolution's output [batch, channels, height, width].
struct Shape {
  std::int64_t batch = 0;
  std::int64_t channels = 0;
  std::int64_t height = 0;
  std::int64_t width = 0;
  LOCKSTEP_HOST_DEVICE std::int64_t planes() const { return batch * channels; }
  LOCKSTEP_HOST_DEVICE std::int64_t pixels() const { return height * width; }
  /// Of the maxima; a last odd row or column has none.
  LOCKSTEP_HOST_DEVICE std::int64_t pooled_height() const { return height / 2; }
  LOCKSTEP_HOST_DEVICE std::int64_t pooled_width() const { return width / 2; }
  LOCKSTEP_HOST_DEVICE std::int64_t pooled_pixels() const {
    return pooled_height() * pooled_width();
  }
};

/// A NaN stays one, and -0 becomes 0: as LibTorch's.
LOCKSTEP_HOST_DEVICE inline float relu(float x) { return x < 0 || x == 0 ? 0 : x; }

/// In a route: where in its 2x2 window a maximum was found, and that its gradient goes on to there.
constexpr std::uint8_t kPlace = 3;
constexpr std::uint8_t kPasses = 4;

// Each of these does one element: i of a plane of one image and one channel.

/// x = relu(x + bias), in place.
struct Relu {
  Shape shape;
  float* x;           ///< [batch, channels, height, width]
  const float* bias;  ///< [channels]

  LOCKSTEP_HOST_DEVICE std::int64_t elements() const { return shape.pixels(); }
  LOCKSTEP_HOST_DEVICE void operator()(std::int64_t plane, std::int64_t i) const {
    float& value = x[plane * shape.pixels() + i];
    value = relu(value + bias[plane % shape.channels]);
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

  LOCKSTEP_HOST_DEVICE std::int64_t elements() const { return shape.pooled_pixels(); }
  LOCKSTEP_HOST_DEVICE void operator()(std::int64_t plane, std::int64_t i) const {
    const std::int64_t channel = plane % shape.channels;
    const float* window = x + plane * shape.pixels() + i / shape.pooled_width() * 2 * shape.width +
                          i % shape.pooled_width() * 2;
    float best = 0;
    unsigned place = 0;
    for (unsigned k = 0; k < 4; ++k) {
      const float value = relu(window[k / 2 * shape.width + k % 2] + bias[channel]);
      if (k > 0 && !(value > best) && value == value) continue;
      best = value;
      place = k;
    }
    bool passes = !(best <= 0);
    if (keep != nullptr) {
      const bool kept =
          keep[(plane / shape.channels * shape.pooled_pixels() + i) * shape.channels + channel] !=
          0;
      best = kept ? best * scale : 0;
      passes = passes && kept;
    }
    const std::int64_t out = plane * shape.pooled_pixels() + i;
    y[out] = best;
    if (routes != nullptr)
      routes[out] = static_cast<std::uint8_t>(passes ? place | kPasses : place);
  }
};

/// Writes an element of the gradient of the convolution's output, and returns it.
struct ReluBackward {
  Shape shape;
  const float* y;         ///< what Relu has left
  const float* gradient;  ///< of it
  float* dx;              ///< [batch, channels, height, width]

  LOCKSTEP_HOST_DEVICE std::int64_t elements() const { return shape.pixels(); }
  LOCKSTEP_HOST_DEVICE float operator()(std::int64_t plane, std::int64_t i) const {
    const std::int64_t at = plane * shape.pixels() + i;
    return dx[at] = y[at] <= 0 ? 0 : gradient[at];
  }
};

struct ReluPoolBackward {
  Shape shape;
  const std::uint8_t* routes;
  const float* gradient;  ///< [batch, channels, pooled height, pooled width]
  float scale;            ///< as forward
  float* dx;              ///< [batch, channels, height, width]

  LOCKSTEP_HOST_DEVICE std::int64_t elements() const { return shape.pixels(); }
  LOCKSTEP_HOST_DEVICE float operator()(std::int64_t plane, std::int64_t i) const {
    const std::int64_t row = i / shape.width, column = i % shape.width;
    float value = 0;
    if (row / 2 < shape.pooled_height() && column / 2 < shape.pooled_width()) {
      const std::int64_t from =
          plane * shape.pooled_pixels() + row / 2 * shape.pooled_width() + column / 2;
      const unsigned place = static_cast<unsigned>(row % 2 * 2 + column % 2);
      if (routes[from] == (place | kPasses)) value = gradient[from] * scale;
    }
    return dx[plane * shape.pixels() + i] = value;
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
