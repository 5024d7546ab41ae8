// The layer in double precision, by its definition.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "lockstep/kernels/convolution.h"

namespace lockstep {

/// Everything one forward and backward pass reads, at random in [-1, 1); input is relu of that for
/// every second problem, as behind another layer. Every second pooled layer has dropout.
struct Problem {
  Problem(const ConvolutionShape& layer, std::int64_t samples, std::mt19937_64& random);

  ConvolutionShape shape;
  std::int64_t batch;
  std::vector<float> input, weight, bias, output_gradient;
  std::vector<std::uint8_t> keep;  ///< empty: no dropout
  float scale = 1;

  std::size_t full_size() const;
  std::string text() const;
};

/// Everything they write, in NHWC also where the layer is planar.
struct Computed {
  std::vector<float> output;
  std::vector<std::uint8_t> routes;
  std::vector<float> input_gradient;  ///< empty where the layer gives none
  std::vector<float> weight_gradient, bias_gradient;
  bool operator==(const Computed&) const = default;
};

/// relu(convolution + bias), before pooling.
std::vector<double> reference_full(const Problem& problem);
/// Its 2x2 maxima where the layer pools, with dropout where the problem has it.
std::vector<double> reference_output(const Problem& problem, const std::vector<double>& full);

struct ReferenceGradient {
  std::vector<double> input, weight, bias;
};
/// The gradient, given where `computed` says that it passes ReLU and pooling.
ReferenceGradient reference_gradient(const Problem& problem, const Computed& computed);

}  // namespace lockstep
