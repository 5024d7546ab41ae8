#include "lockstep/base/instruction_set.h"

#include <algorithm>
#include <cstdlib>
#include <string_view>

namespace lockstep {

namespace {

bool cpu_has([[maybe_unused]] InstructionSet set) {
#if defined(__x86_64__)
  // These ask the operating system, too, which has to save the registers.
  const bool avx2 = __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0;
  if (set == InstructionSet::kAvx512) return avx2 && __builtin_cpu_supports("avx512f") != 0;
  return set == InstructionSet::kAvx2 && avx2;
#else
  return false;
#endif
}

InstructionSet most_wanted() {
  const char* text = std::getenv("ATEN_CPU_CAPABILITY");
  const std::string_view wanted = text == nullptr ? "" : text;
  if (wanted == "default") return InstructionSet::kNone;
  return wanted == "avx2" ? InstructionSet::kAvx2 : InstructionSet::kAvx512;
}

}  // namespace

const std::vector<InstructionSet>& instruction_sets() {
  static const std::vector<InstructionSet> sets = [] {
    std::vector<InstructionSet> found;
    for (const InstructionSet set : {InstructionSet::kAvx512, InstructionSet::kAvx2}) {
      if (set <= most_wanted() && cpu_has(set)) found.push_back(set);
    }
    return found;
  }();
  return sets;
}

InstructionSet best_instruction_set() {
  return instruction_sets().empty() ? InstructionSet::kNone : instruction_sets().front();
}

bool is_usable(InstructionSet set) {
  return set == InstructionSet::kNone || std::ranges::count(instruction_sets(), set) > 0;
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
