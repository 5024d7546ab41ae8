// One piece of code, compiled for several instruction sets and chosen at run time.
#pragma once

#include "lockstep/base/instruction_set.h"

/// For the operator() of what is passed to compiled_for().
#define LOCKSTEP_INLINED __attribute__((always_inline))

namespace lockstep {

namespace compiled {

#if defined(__x86_64__)
template <class Function>
[[gnu::target("avx2")]] auto for_avx2(const Function function) {
  return function();
}
// GCC takes half of these registers unless asked; Clang does not know the option.
#if defined(__clang__)
#define LOCKSTEP_AVX512 "avx512f"
#else
#define LOCKSTEP_AVX512 "avx512f,prefer-vector-width=512"
#endif
template <class Function>
[[gnu::target(LOCKSTEP_AVX512)]] auto for_avx512(const Function function) {
  return function();
}
#undef LOCKSTEP_AVX512
#endif

}  // namespace compiled

/// function(), whose loops the compiler may turn into vectors of the set, which must be usable:
///   compiled_for(set, [=]() LOCKSTEP_INLINED { for (...) out[i] = ...; });
/// It captures by value. AVX2 and AVX-512 bring fused multiply-add, which -ffp-contract=off keeps
/// out: the vectors get wider, the roundings stay. Reductions of floating point stay in their
/// order.
template <class Function>
auto compiled_for([[maybe_unused]] InstructionSet set, const Function& function) {
#if defined(__x86_64__)
  if (set == InstructionSet::kAvx512) return compiled::for_avx512(function);
  if (set == InstructionSet::kAvx2) return compiled::for_avx2(function);
#endif
  return function();
}

}  // namespace lockstep
