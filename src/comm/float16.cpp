#include "comm/float16.h"

#include "lockstep/base/instruction_set.h"

namespace lockstep {

namespace {

using Add = void(const std::uint16_t*, std::uint16_t*, std::size_t);

template <auto kWiden, auto kRound>
[[gnu::always_inline]] inline void add(const std::uint16_t* from, std::uint16_t* to,
                                       std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) to[i] = kRound(kWiden(from[i]) + kWiden(to[i]));
}

template <auto kWiden, auto kRound>
void add_baseline(const std::uint16_t* from, std::uint16_t* to, std::size_t n) {
  add<kWiden, kRound>(from, to, n);
}

#if defined(__x86_64__)
// Wider vectors, the same roundings.
template <auto kWiden, auto kRound>
[[gnu::target("avx2")]] void add_avx2(const std::uint16_t* from, std::uint16_t* to, std::size_t n) {
  add<kWiden, kRound>(from, to, n);
}
#endif

template <auto kWiden, auto kRound>
Add* best() {
#if defined(__x86_64__)
  if (best_instruction_set() >= InstructionSet::kAvx2) return add_avx2<kWiden, kRound>;
#endif
  return add_baseline<kWiden, kRound>;
}

}  // namespace

void add_bfloat16(const std::uint16_t* from, std::uint16_t* to, std::size_t n) {
  best<widen_bfloat16, round_to_bfloat16>()(from, to, n);
}

void add_float16(const std::uint16_t* from, std::uint16_t* to, std::size_t n) {
  best<widen_float16, round_to_float16>()(from, to, n);
}

}  // namespace lockstep
