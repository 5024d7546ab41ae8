// What identifies a stream of random numbers (random.h). Apart from it for CUDA sources, which are
// compiled as C++17.
#pragma once

#include <cstdint>

namespace lockstep {

/// What a number is for; different purposes never share numbers. Values are part of the results'
/// definition: never renumber.
enum class Purpose : std::uint8_t {
  kSampleOrder = 1,
  kSplit = 2,
  kAugmentation = 3,
  kDropout = 4,
  kInitialisation = 5,
  kReseed = 6,
};

/// Identifies one stream of numbers. `sample` uses 48 bits, `layer` 8.
struct RandomKey {
  std::uint64_t seed = 0;
  Purpose purpose = Purpose::kSampleOrder;
  std::uint32_t epoch = 0;
  std::uint64_t sample = 0;
  std::uint8_t layer = 0;
};

}  // namespace lockstep
