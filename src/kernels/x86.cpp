#include "tables.h"

namespace lockstep {

std::vector<InstructionSet> instruction_sets() {
  std::vector<InstructionSet> sets;
  // These ask the operating system, too, which has to save the registers.
  const bool avx2 = __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0;
  if (avx2 && __builtin_cpu_supports("avx512f") != 0) sets.push_back(InstructionSet::kAvx512);
  if (avx2) sets.push_back(InstructionSet::kAvx2);
  return sets;
}

namespace kernels {

const KernelTable* find_table(InstructionSet set) {
  for (const InstructionSet available : instruction_sets()) {
    if (available != set) continue;
    return set == InstructionSet::kAvx512 ? &avx512_table() : &avx2_table();
  }
  return nullptr;
}

}  // namespace kernels

}  // namespace lockstep
