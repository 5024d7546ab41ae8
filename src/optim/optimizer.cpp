#include "lockstep/optim/optimizer.h"

#include <bit>
#include <cstdint>

#include "optim/host_engine.h"
#include "optim/rules.h"

namespace lockstep {

std::unique_ptr<Optimizer> make_optimizer(const OptimizerOptions& options, std::size_t n) {
  return optim::make_host_optimizer(options, n, best_instruction_set());
}

std::unique_ptr<Optimizer> optim::make_host_optimizer(const OptimizerOptions& options,
                                                      std::size_t n, InstructionSet set) {
  return make_with(options, n, HostEngine(set));
}

namespace optim {

namespace {

// An exponent of ones is an infinity or a NaN; integers, so that loops vectorise and no option for
// floating point can remove them.
[[gnu::always_inline]] inline std::uint32_t is_bad(float value) {
  constexpr std::uint32_t kExponent = 0x7f800000;
  return (std::bit_cast<std::uint32_t>(value) & kExponent) == kExponent ? 1 : 0;
}

[[gnu::always_inline]] inline bool look_at_all(const float* values, std::size_t n) {
  // In four places at once: memory gives more than to one.
  const std::size_t quarter = n / 4;
  std::uint32_t bad = 0;
  for (std::size_t i = 0; i < quarter; ++i) {
    bad |= is_bad(values[i]) | is_bad(values[quarter + i]) | is_bad(values[2 * quarter + i]) |
           is_bad(values[3 * quarter + i]);
  }
  for (std::size_t i = 4 * quarter; i < n; ++i) bad |= is_bad(values[i]);
  return bad == 0;
}

}  // namespace

bool all_finite_with(InstructionSet set, const float* values, std::size_t n) {
  return compiled_for(set, [=]() LOCKSTEP_INLINED { return look_at_all(values, n); });
}

}  // namespace optim

bool all_finite(const float* values, std::size_t n) {
  return optim::all_finite_with(best_instruction_set(), values, n);
}

void update_average(float* average, const float* weights, std::size_t n, double decay) {
  optim::update_average_with(best_instruction_set(), average, weights, n, decay);
}

void optim::update_average_with(InstructionSet set, float* average, const float* weights,
                                std::size_t n, double decay) {
  HostEngine(set).run(n, AveragePass{to_float(1 - decay), average, weights});
}

}  // namespace lockstep
