// Where a tensor lies in a flat buffer.
#pragma once

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
};

}  // namespace lockstep
