#include "base/philox.h"

namespace lockstep {

PhiloxFill* find_philox(InstructionSet) { return nullptr; }

}  // namespace lockstep
