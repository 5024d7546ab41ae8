// Which of the kernels' instruction sets a CPU has.
#pragma once

#include <vector>

namespace lockstep {

enum class InstructionSet { kNone, kAvx2, kAvx512 };

/// The sets that this build has kernels for and that this CPU and its operating system can use
/// (AVX2 with FMA; AVX-512F), best first. Empty on other CPUs and other processors.
std::vector<InstructionSet> instruction_sets();

/// The best of them, or kNone.
InstructionSet best_instruction_set();

/// "none", "avx2" or "avx512".
const char* name_of(InstructionSet set);

}  // namespace lockstep
