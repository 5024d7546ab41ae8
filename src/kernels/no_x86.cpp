#include "tables.h"

namespace lockstep {

std::vector<InstructionSet> instruction_sets() { return {}; }

namespace kernels {

const KernelTable* find_table(InstructionSet) { return nullptr; }

}  // namespace kernels

}  // namespace lockstep
