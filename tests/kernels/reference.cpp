#include "reference.h"

#include <fmt/format.h>

#include <algorithm>

namespace lockstep {

namespace {

std::vector<float> random_floats(std::size_t count, std::mt19937_64& random) {
  std::uniform_real_distribution<float> uniform(-1, 1);
  std::vector<float> values(count);
  for (float& value : values) value = uniform(random);
  return values;
}

std::size_t size(long floats) { return static_cast<std::size_t>(floats); }

// Calls body(index of the full image, of the weight, of the input) for every product of a layer.
template <class Body>
void for_products(const Problem& p, Body body) {
  const auto& s = p.shape;
  const int border = s.kernel / 2;
  for (long b = 0; b < p.batch; ++b) {
    for (int y = 0; y < s.height; ++y) {
      for (int x = 0; x < s.width; ++x) {
        const long pixel = (b * s.height + y) * s.width + x;
        for (int u = 0; u < s.kernel; ++u) {
          for (int v = 0; v < s.kernel; ++v) {
            const int iy = y + u - border, ix = x + v - border;
            if (iy < 0 || iy >= s.height || ix < 0 || ix >= s.width) continue;
            const long in_pixel = (b * s.height + iy) * s.width + ix;
            for (int o = 0; o < s.out_channels; ++o) {
              for (int i = 0; i < s.in_channels; ++i) {
                const long weight =
                    ((static_cast<long>(o) * s.in_channels + i) * s.kernel + u) * s.kernel + v;
                body(size(pixel * s.out_channels + o), size(weight),
                     size(in_pixel * s.in_channels + i));
              }
            }
          }
        }
      }
    }
  }
}

// Calls body(index of the output, indices of its window in the full image).
template <class Body>
void for_windows(const Problem& p, Body body) {
  const auto& s = p.shape;
  std::size_t at = 0;
  for (long b = 0; b < p.batch; ++b) {
    for (int y = 0; y < s.height / 2; ++y) {
      for (int x = 0; x < s.width / 2; ++x) {
        for (int o = 0; o < s.out_channels; ++o, ++at) {
          std::size_t window[4];
          for (int k = 0; k < 4; ++k) {
            const long pixel = (b * s.height + 2 * y + k / 2) * s.width + 2 * x + k % 2;
            window[k] = size(pixel * s.out_channels + o);
          }
          body(at, window);
        }
      }
    }
  }
}

}  // namespace

Problem::Problem(const ConvolutionShape& layer, std::int64_t samples, std::mt19937_64& random)
    : shape(layer), batch(samples) {
  const long pixels = samples * layer.height * layer.width;
  const long out_pixels = layer.pool ? samples * (layer.height / 2) * (layer.width / 2) : pixels;
  input = random_floats(size(pixels * layer.in_channels), random);
  if (random() % 2 == 0) {
    for (float& value : input) value = std::max(0.0f, value);
  }
  weight = random_floats(
      size(static_cast<long>(layer.kernel) * layer.kernel * layer.in_channels * layer.out_channels),
      random);
  bias = random_floats(size(layer.out_channels), random);
  output_gradient = random_floats(size(out_pixels * layer.out_channels), random);
  if (!layer.pool || random() % 2 == 0) return;
  keep.resize(output_gradient.size());
  for (std::uint8_t& byte : keep) byte = random() % 4 != 0 ? 1 : 0;
  scale = std::uniform_real_distribution<float>(0.5, 2)(random);
}

std::size_t Problem::full_size() const {
  return size(batch * shape.height * shape.width * shape.out_channels);
}

std::string Problem::text() const {
  return fmt::format("{} samples {}x{}, {} to {} channels, kernel {}{}{}", batch, shape.height,
                     shape.width, shape.in_channels, shape.out_channels, shape.kernel,
                     shape.planar ? ", pooled, planar"
                     : shape.pool ? ", pooled"
                                  : "",
                     keep.empty() ? "" : ", with dropout");
}

std::vector<double> reference_full(const Problem& p) {
  std::vector<double> full(p.full_size());
  const auto channels = size(p.shape.out_channels);
  for (std::size_t i = 0; i < full.size(); ++i) full[i] = p.bias[i % channels];
  for_products(p, [&](std::size_t out, std::size_t weight, std::size_t in) {
    full[out] += static_cast<double>(p.weight[weight]) * p.input[in];
  });
  for (double& value : full) value = std::max(0.0, value);
  return full;
}

std::vector<double> reference_output(const Problem& p, const std::vector<double>& full) {
  if (!p.shape.pool) return full;
  std::vector<double> output(p.output_gradient.size());
  for_windows(p, [&](std::size_t at, const std::size_t* window) {
    output[at] = std::max({full[window[0]], full[window[1]], full[window[2]], full[window[3]]});
    if (!p.keep.empty()) output[at] *= p.keep[at] * p.scale;
  });
  return output;
}

ReferenceGradient reference_gradient(const Problem& p, const Computed& computed) {
  std::vector<double> full(p.full_size());
  if (p.shape.pool) {
    for_windows(p, [&](std::size_t at, const std::size_t* window) {
      const auto winner = computed.routes[at];
      if (winner < 4) full[window[winner]] = static_cast<double>(p.output_gradient[at]) * p.scale;
    });
  } else {
    for (std::size_t i = 0; i < full.size(); ++i) {
      full[i] = computed.output[i] > 0 ? p.output_gradient[i] : 0.0;
    }
  }
  ReferenceGradient gradient{std::vector<double>(p.input.size()),
                             std::vector<double>(p.weight.size()),
                             std::vector<double>(p.bias.size())};
  for (std::size_t i = 0; i < full.size(); ++i) gradient.bias[i % p.bias.size()] += full[i];
  for_products(p, [&](std::size_t out, std::size_t weight, std::size_t in) {
    gradient.input[in] += full[out] * p.weight[weight];
    gradient.weight[weight] += full[out] * p.input[in];
  });
  return gradient;
}

}  // namespace lockstep
