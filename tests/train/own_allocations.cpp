// Replaces operator new by one that counts the calls made from this program's text, in which the
// code of lockstep's static libraries lies.
#include "own_allocations.h"

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <new>

extern "C" {
// Set by the linker.
extern const char __executable_start;
extern const char etext;
}

namespace lockstep {
namespace {

std::atomic<long> count{0}, bytes{0}, largest{0};

void note(std::size_t size, const void* caller) {
  const auto at = reinterpret_cast<std::uintptr_t>(caller);
  if (at < reinterpret_cast<std::uintptr_t>(&__executable_start) ||
      at >= reinterpret_cast<std::uintptr_t>(&etext)) {
    return;
  }
  ++count;
  bytes += static_cast<long>(size);
  long most = largest;
  while (most < static_cast<long>(size) &&
         !largest.compare_exchange_weak(most, static_cast<long>(size))) {
  }
}

}  // namespace

OwnAllocations own_allocations() { return {count, bytes, largest.exchange(0)}; }

}  // namespace lockstep

void* operator new(std::size_t size) {
  lockstep::note(size, __builtin_return_address(0));
  if (void* memory = std::malloc(size != 0 ? size : 1)) return memory;
  throw std::bad_alloc();
}
// Else a sanitizer's own would be taken, whose memory is not to be freed here.
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  lockstep::note(size, __builtin_return_address(0));
  return std::malloc(size != 0 ? size : 1);
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
