// The order in which squares are summed, on host and device: values in chunks of kChunk; lane j of
// a chunk takes its elements j, j + kLanes, ...; lanes are added in halves, lane j + kLanes / 2 to
// lane j first; chunks one after the other. The square of a float is exact in a double, so that
// nothing else rounds.
#pragma once

#include <cstddef>

namespace lockstep::optim {

constexpr std::size_t kLanes = 64;
constexpr std::size_t kChunk = 32 * kLanes;

constexpr std::size_t chunks_in(std::size_t n) { return (n + kChunk - 1) / kChunk; }

}  // namespace lockstep::optim
