// Philox4x32-10 of many blocks at once, for CPUs that can: with Random123, which computes one,
// dropout's masks took a hundredth of a training step.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "lockstep/base/instruction_set.h"

namespace lockstep {

struct PhiloxStart {
  std::array<std::uint32_t, 4> counter;  ///< of the first block; the first word counts up, mod 2^32
  std::array<std::uint32_t, 2> key;
};

/// Fills `out` with block after block, as far as it holds whole runs of those that the function
/// computes at once; returns the number of words written, a multiple of 4.
using PhiloxFill = std::size_t(const PhiloxStart& start, std::span<std::uint32_t> out);

/// That of an instruction set, all of which give the same words; null where there is none.
PhiloxFill* find_philox(InstructionSet set);

PhiloxFill fill_philox_avx2, fill_philox_avx512;

}  // namespace lockstep
