// Replaces operator new by one that counts the calls made from this program's text, in which the
// code of lockstep's static libraries lies.
#include "own_allocations.h"

#include <atomic>
#include <cstddef>
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

namespace {

void* take(std::size_t size, std::size_t alignment, const void* caller) noexcept {
  lockstep::note(size, caller);
  const std::size_t whole = (size + alignment) / alignment * alignment;  // at least one
  return std::aligned_alloc(alignment, whole);
}

void* take_or_throw(std::size_t size, std::size_t alignment, const void* caller) {
  if (void* memory = take(size, alignment, caller)) return memory;
  throw std::bad_alloc();
}

constexpr std::size_t kUsual = alignof(std::max_align_t);

}  // namespace

// All forms: one left out would be a library's, whose memory is not to be freed here, or call
// another of these from the library's text.
void* operator new(std::size_t size) {
  return take_or_throw(size, kUsual, __builtin_return_address(0));
}
void* operator new[](std::size_t size) {
  return take_or_throw(size, kUsual, __builtin_return_address(0));
}
void* operator new(std::size_t size, std::align_val_t alignment) {
  return take_or_throw(size, static_cast<std::size_t>(alignment), __builtin_return_address(0));
}
void* operator new[](std::size_t size, std::align_val_t alignment) {
  return take_or_throw(size, static_cast<std::size_t>(alignment), __builtin_return_address(0));
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  return take(size, kUsual, __builtin_return_address(0));
}
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept {
  return take(size, kUsual, __builtin_return_address(0));
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
