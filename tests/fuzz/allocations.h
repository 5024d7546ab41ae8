// How much memory a piece of work takes. Two implementations: counting_new.cpp replaces operator
// new, sanitizer_hooks.cpp asks the sanitizers' allocator.
#pragma once

#include <cstddef>

namespace lockstep::fuzz {

/// Counts from construction on what this thread allocates and frees; one object at a time.
class PeakMemory {
 public:
  PeakMemory();
  ~PeakMemory();
  PeakMemory(const PeakMemory&) = delete;
  PeakMemory& operator=(const PeakMemory&) = delete;
  /// The most that was held at once since the construction.
  std::size_t bytes() const;
};

namespace internal {

/// What the implementations count into.
struct Count {
  bool active = false;
  std::size_t held = 0;
  std::size_t peak = 0;

  void add(std::size_t size) {
    if (!active) return;
    held += size;
    peak = held > peak ? held : peak;
  }
  void remove(std::size_t size) {
    // What was allocated before the counting began may be freed during it.
    if (active) held -= size < held ? size : held;
  }
};

inline thread_local Count count;

}  // namespace internal

inline PeakMemory::PeakMemory() { internal::count = {.active = true}; }
inline PeakMemory::~PeakMemory() { internal::count.active = false; }
inline std::size_t PeakMemory::bytes() const { return internal::count.peak; }

}  // namespace lockstep::fuzz
