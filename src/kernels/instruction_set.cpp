#include "lockstep/kernels/instruction_set.h"

namespace lockstep {

InstructionSet best_instruction_set() {
  const std::vector<InstructionSet> sets = instruction_sets();
  return sets.empty() ? InstructionSet::kNone : sets.front();
}

const char* name_of(InstructionSet set) {
  switch (set) {
    case InstructionSet::kAvx512:
      return "avx512";
    case InstructionSet::kAvx2:
      return "avx2";
    case InstructionSet::kNone:
      break;
  }
  return "none";
}

}  // namespace lockstep
