// The kernels this build has: x86.cpp with avx2.cpp and avx512.cpp, or no_x86.cpp.
#pragma once

#include "kernel_table.h"
#include "lockstep/base/instruction_set.h"

namespace lockstep::kernels {

const KernelTable& avx2_table();
const KernelTable& avx512_table();

/// The kernels of a set, null where this build or this CPU has none.
const KernelTable* find_table(InstructionSet set);

}  // namespace lockstep::kernels
