#include "tables.h"

namespace lockstep::kernels {

const KernelTable* find_table(InstructionSet) { return nullptr; }

}  // namespace lockstep::kernels
