#include "base/philox.h"

namespace lockstep {

PhiloxFill* find_philox(InstructionSet set) {
  if (set == InstructionSet::kNone || !is_usable(set)) return nullptr;
  return set == InstructionSet::kAvx512 ? fill_philox_avx512 : fill_philox_avx2;
}

}  // namespace lockstep
