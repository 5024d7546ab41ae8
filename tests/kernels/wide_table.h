// The kernels for sixteen lanes on a CPU with eight: what AVX-512 computes, without AVX-512.
#pragma once

#include "kernels/kernel_table.h"

namespace lockstep {

/// Null where AVX2 is missing.
const kernels::KernelTable* wide_table();

}  // namespace lockstep
