#include "tables.h"

namespace lockstep::kernels {

const KernelTable* find_table(InstructionSet set) {
  if (set == InstructionSet::kNone || !is_usable(set)) return nullptr;
  return set == InstructionSet::kAvx512 ? &avx512_table() : &avx2_table();
}

}  // namespace lockstep::kernels
