// Philox4x32-10 of many blocks at once, for CPUs that can: with Random123, which computes one,
// dropout's masks took a hundredth of a training step.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace lockstep {

struct PhiloxStart {
  std::array<std::uint32_t, 4> counter;  ///< of the first block; the first word counts up, mod 2^32
  std::array<std::uint32_t, 2> key;
};

/// Fills `out` with block after block, as far as it holds whole runs of those that the function
/// computes at once; returns the number of words written, a multiple of 4.
using PhiloxFill = std::size_t (*)(const PhiloxStart& start, std::span<std::uint32_t> out);

/// Those that this CPU and its operating system can use, best first; all give the same words.
const std::vector<PhiloxFill>& philox_fills();

// Only where the CPU has the instructions.
std::size_t fill_philox_avx2(const PhiloxStart& start, std::span<std::uint32_t> out);
std::size_t fill_philox_avx512(const PhiloxStart& start, std::span<std::uint32_t> out);

}  // namespace lockstep
