// Runs a pass over host memory, compiled for several instruction sets and chosen at run time.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "lockstep/base/instruction_set.h"
#include "lockstep/optim/optimizer.h"

namespace lockstep::optim {

template <class Pass>
void run_baseline(std::size_t n, const Pass pass) {
  for (std::size_t i = 0; i < n; ++i) pass(i);
}

#if defined(__x86_64__)
// AVX-512 brings fused multiply-add, which -ffp-contract=off keeps out: the vectors get wider, the
// roundings stay.
template <class Pass>
[[gnu::target("avx2")]] void run_avx2(std::size_t n, const Pass pass) {
  for (std::size_t i = 0; i < n; ++i) pass(i);
}
template <class Pass>
[[gnu::target("avx512f,prefer-vector-width=512")]] void run_avx512(std::size_t n, const Pass pass) {
  for (std::size_t i = 0; i < n; ++i) pass(i);
}
#endif

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

  template <class Pass>
  void run(std::size_t n, const Pass& pass) const {
#if defined(__x86_64__)
    if (set_ == InstructionSet::kAvx512) return run_avx512(n, pass);
    if (set_ == InstructionSet::kAvx2) return run_avx2(n, pass);
#endif
    run_baseline(n, pass);
  }

 private:
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
