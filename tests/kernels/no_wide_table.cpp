#include "wide_table.h"

namespace lockstep {

const kernels::KernelTable* wide_table() { return nullptr; }

}  // namespace lockstep
