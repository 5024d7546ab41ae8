// Which vector instructions this process may use.
#pragma once

#include <vector>

namespace lockstep {

/// Each includes those before it. kAvx2: AVX2 and FMA; kAvx512: AVX-512F.
enum class InstructionSet { kNone, kAvx2, kAvx512 };

/// Those beyond kNone that this build, this CPU and its operating system have, best first.
/// LibTorch's environment variable ATEN_CPU_CAPABILITY holds for lockstep, too: "default" leaves
/// none, "avx2" no better one; it is read once. Thread-safe.
const std::vector<InstructionSet>& instruction_sets();

/// The best of them, or kNone.
InstructionSet best_instruction_set();

/// Whether it is among them, or kNone.
bool is_usable(InstructionSet set);

/// "none", "avx2" or "avx512".
const char* name_of(InstructionSet set);

}  // namespace lockstep
