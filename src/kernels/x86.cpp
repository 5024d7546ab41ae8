#include "tables.h"

namespace lockstep {

namespace {

bool has(InstructionSet set) {
  // These ask the operating system, too, which has to save the registers.
  const bool avx2 = __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0;
  if (set == InstructionSet::kAvx512) return avx2 && __builtin_cpu_supports("avx512f") != 0;
  return set == InstructionSet::kAvx2 && avx2;
}

}  // namespace

std::vector<InstructionSet> instruction_sets() {
  std::vector<InstructionSet> sets;
  for (const InstructionSet set : {InstructionSet::kAvx512, InstructionSet::kAvx2}) {
    if (has(set)) sets.push_back(set);
  }
  return sets;
}

namespace kernels {

const KernelTable* find_table(InstructionSet set) {
  if (!has(set)) return nullptr;
  return set == InstructionSet::kAvx512 ? &avx512_table() : &avx2_table();
}

}  // namespace kernels

}  // namespace lockstep
