#include "lockstep/optim/clipping.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "optim/host_engine.h"
#include "optim/passes.h"
#include "optim/square_sum.h"

namespace lockstep {

namespace optim {

namespace {

[[gnu::always_inline]] inline double add_up(const float* values, std::size_t n) {
  double sum = 0;
  for (std::size_t first = 0; first < n; first += kChunk) {
    const float* chunk = values + first;
    const std::size_t count = std::min(kChunk, n - first);
    std::array<double, kLanes> lanes{};
    std::size_t i = 0;
    for (; i + kLanes <= count; i += kLanes) {
      for (std::size_t lane = 0; lane < kLanes; ++lane) {
        const double value = chunk[i + lane];
        lanes[lane] += value * value;
      }
    }
    for (std::size_t lane = 0; i + lane < count; ++lane) {
      const double value = chunk[i + lane];
      lanes[lane] += value * value;
    }
    for (std::size_t half = kLanes / 2; half > 0; half /= 2) {
      for (std::size_t lane = 0; lane < half; ++lane) lanes[lane] += lanes[lane + half];
    }
    sum += lanes[0];
  }
  return sum;
}

}  // namespace

double square_sum_with(InstructionSet set, const float* values, std::size_t n) {
  return compiled_for(set, [=]() LOCKSTEP_INLINED { return add_up(values, n); });
}

}  // namespace optim

double l2_norm(const float* values, std::size_t n) {
  return std::sqrt(optim::square_sum_with(best_instruction_set(), values, n));
}

double clip_by_norm(float* gradient, std::size_t n, double limit) {
  const double norm = l2_norm(gradient, n);
  if (norm > limit) {
    optim::HostEngine(best_instruction_set())
        .run(n, optim::ScalePass{static_cast<float>(limit / norm), gradient});
  }
  return norm;
}

}  // namespace lockstep
