// Scratch memory of the kernels.
#pragma once

#include <cstddef>
#include <memory>

namespace lockstep {

/// One block of floats that grows to the largest request and is then reused: no pass allocates once
/// each kind of pass has run. Serves any number of layers, one pass at a time; move-only; not
/// thread-safe.
class Workspace {
 public:
  /// `count` floats, starting on 64 bytes; what they hold is undefined. Valid until the next call.
  /// Throws std::bad_alloc.
  float* floats(std::size_t count);
  /// Floats held.
  std::size_t capacity() const { return capacity_; }

 private:
  struct Free {
    void operator()(float* memory) const;
  };
  std::unique_ptr<float[], Free> memory_;
  std::size_t capacity_ = 0;
};

}  // namespace lockstep
