// Memory that the ranks of one host share.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "lockstep/comm/world.h"

namespace lockstep {

/// One region that every rank of a world maps, a part of it for each. It has no name in any file
/// system, so nothing of it is left however a rank ends. Unmapped when destroyed, on this rank.
class SharedMemory {
 public:
  /// Zeroed, and taken from the system, which refuses here what it does not have. Each part begins
  /// on 4,096 bytes. Every rank calls it with the same size, outside of together(). Null where the
  /// system does not let the ranks share memory; `reason` then says why, on the root.
  static std::shared_ptr<SharedMemory> create(World& world, std::size_t bytes_a_rank,
                                              std::string& reason);
  ~SharedMemory();
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;

  std::byte* part(int rank) const;

 private:
  SharedMemory(std::byte* base, std::size_t bytes, std::size_t stride)
      : base_(base), bytes_(bytes), stride_(stride) {}

  std::byte* base_;
  std::size_t bytes_;
  std::size_t stride_;
};

}  // namespace lockstep
