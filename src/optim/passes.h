// The update of one element, written once for host and device (see optimizer.h for the formulas).
// A pass is called with every index once, in any order; arrays() are those that it reads. Compiled
// without contraction of products and sums (-ffp-contract=off, -fmad=false).
#pragma once

#include <array>
#include <cmath>
#include <cstddef>

#include "lockstep/base/element.h"

namespace lockstep::optim {

struct RmspropTerms {
  float rate, rho, one_minus_rho, epsilon, decay, momentum;
};

struct RmspropPass {
  RmspropTerms terms;
  float* weights;
  const float* gradients;
  float* squares;

  LOCKSTEP_ELEMENT void operator()(std::size_t i) const {
    const float w = weights[i];
    const float g = gradients[i] + terms.decay * w;
    const float v = terms.rho * squares[i] + terms.one_minus_rho * (g * g);
    squares[i] = v;
    weights[i] = w - terms.rate * g / (sqrtf(v) + terms.epsilon);
  }

  std::array<const float*, 3> arrays() const { return {weights, gradients, squares}; }
};

struct RmspropMomentumPass {
  RmspropTerms terms;
  float* weights;
  const float* gradients;
  float* squares;
  float* momenta;

  LOCKSTEP_ELEMENT void operator()(std::size_t i) const {
    const float w = weights[i];
    const float g = gradients[i] + terms.decay * w;
    const float v = terms.rho * squares[i] + terms.one_minus_rho * (g * g);
    const float b = terms.momentum * momenta[i] + g / (sqrtf(v) + terms.epsilon);
    squares[i] = v;
    momenta[i] = b;
    weights[i] = w - terms.rate * b;
  }

  std::array<const float*, 4> arrays() const { return {weights, gradients, squares, momenta}; }
};

struct SgdPass {
  float rate, decay;
  float* weights;
  const float* gradients;

  LOCKSTEP_ELEMENT void operator()(std::size_t i) const {
    const float w = weights[i];
    weights[i] = w - rate * (gradients[i] + decay * w);
  }

  std::array<const float*, 2> arrays() const { return {weights, gradients}; }
};

template <bool kNesterov>
struct SgdMomentumPass {
  float rate, decay, momentum;
  float* weights;
  const float* gradients;
  float* momenta;

  LOCKSTEP_ELEMENT void operator()(std::size_t i) const {
    const float w = weights[i];
    const float g = gradients[i] + decay * w;
    const float b = momentum * momenta[i] + g;
    momenta[i] = b;
    weights[i] = w - rate * (kNesterov ? g + momentum * b : b);
  }

  std::array<const float*, 3> arrays() const { return {weights, gradients, momenta}; }
};

struct AdamwPass {
  /// shrink: 1 - rate * decay; step: rate / (1 - beta1^t); root: sqrt(1 - beta2^t).
  float shrink, step, root, epsilon, beta1, one_minus_beta1, beta2, one_minus_beta2;
  float* weights;
  const float* gradients;
  float* first;
  float* second;

  LOCKSTEP_ELEMENT void operator()(std::size_t i) const {
    const float g = gradients[i];
    const float m = beta1 * first[i] + one_minus_beta1 * g;
    const float v = beta2 * second[i] + one_minus_beta2 * (g * g);
    first[i] = m;
    second[i] = v;
    weights[i] = weights[i] * shrink - step * m / (sqrtf(v) / root + epsilon);
  }

  std::array<const float*, 4> arrays() const { return {weights, gradients, first, second}; }
};

struct AveragePass {
  float share;
  float* average;
  const float* weights;

  LOCKSTEP_ELEMENT void operator()(std::size_t i) const {
    const float a = average[i];
    average[i] = a + share * (weights[i] - a);
  }

  std::array<const float*, 2> arrays() const { return {average, weights}; }
};

struct ScalePass {
  float factor;
  float* values;

  LOCKSTEP_ELEMENT void operator()(std::size_t i) const { values[i] *= factor; }

  std::array<const float*, 1> arrays() const { return {values}; }
};

}  // namespace lockstep::optim
