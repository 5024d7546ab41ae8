// Runs a pass over host memory, compiled for several instruction sets and chosen at run time.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "lockstep/base/compiled_for.h"
#include "lockstep/optim/optimizer.h"

namespace lockstep::optim {

class HostEngine {
 public:
  class Buffer {
   public:
    explicit Buffer(std::size_t n) : values_(n, 0.0f) {}
    float* get() { return values_.data(); }

   private:
    std::vector<float> values_;
  };

  explicit HostEngine(InstructionSet set) : set_(set) {}

  /// Asks for memory a page ahead, where the processor's own prefetching ends.
  template <class Pass>
  void run(std::size_t n, const Pass& pass) const {
    compiled_for(set_, [n, pass]() LOCKSTEP_INLINED {
      std::size_t i = 0;
      for (; i + kAhead + kBlock <= n; i += kBlock) {
        for (const float* values : pass.arrays()) {
          for (std::size_t line = 0; line < kBlock; line += kCacheLine) {
            __builtin_prefetch(values + i + kAhead + line);
          }
        }
        for (std::size_t k = 0; k < kBlock; ++k) pass(i + k);
      }
      for (; i < n; ++i) pass(i);
    });
  }

 private:
  // In floats.
  static constexpr std::size_t kCacheLine = 16, kBlock = 4 * kCacheLine, kAhead = 1024;

  InstructionSet set_;
};

/// make_optimizer for an instruction set that is_usable: for tests of their equality.
std::unique_ptr<Optimizer> make_host_optimizer(const OptimizerOptions& options, std::size_t n,
                                               InstructionSet set);
/// update_average likewise.
void update_average_with(InstructionSet set, float* average, const float* weights, std::size_t n,
                         double decay);
/// all_finite likewise.
bool all_finite_with(InstructionSet set, const float* values, std::size_t n);
/// The sum of squares in the order of square_sum.h.
double square_sum_with(InstructionSet set, const float* values, std::size_t n);

}  // namespace lockstep::optim
