#include "comm/float16.h"

#include "lockstep/base/compiled_for.h"

namespace lockstep {

namespace {

// Adds `from` to `to`; wider vectors have the same roundings.
template <auto kWiden, auto kRound>
void add(const std::uint16_t* from, std::uint16_t* to, std::size_t n) {
  compiled_for(best_instruction_set(), [=]() LOCKSTEP_INLINED {
    for (std::size_t i = 0; i < n; ++i) to[i] = kRound(kWiden(from[i]) + kWiden(to[i]));
  });
}

}  // namespace

void add_bfloat16(const std::uint16_t* from, std::uint16_t* to, std::size_t n) {
  add<widen_bfloat16, round_to_bfloat16>(from, to, n);
}

void add_float16(const std::uint16_t* from, std::uint16_t* to, std::size_t n) {
  add<widen_float16, round_to_float16>(from, to, n);
}

}  // namespace lockstep
