// Where a tensor lies in a flat buffer.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <string>
#include <vector>

namespace lockstep {

struct FlatView {
  std::string name;                 ///< PyTorch's: "conv1.weight"
  std::vector<std::int64_t> shape;  ///< logical, contiguous
  std::int64_t offset = 0;          ///< in floats, from the buffer's start
  std::int64_t count = 0;           ///< floats without padding
  std::int64_t padded = 0;          ///< floats with padding
  /// Of its elements; others than float32 lie in the place of as many floats as they need.
  c10::ScalarType type = c10::ScalarType::Float;
};

}  // namespace lockstep
