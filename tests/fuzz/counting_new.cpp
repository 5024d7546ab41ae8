#include <malloc.h>

#include <cstdlib>
#include <new>

#include "allocations.h"

using lockstep::fuzz::internal::count;

// The other forms of new and delete call these; but for that which does not throw, where a
// sanitizer brings one of its own.
void* operator new(std::size_t size) {
  void* memory = std::malloc(size);
  if (memory == nullptr) throw std::bad_alloc();
  count.add(::malloc_usable_size(memory));
  return memory;
}

void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  try {
    return ::operator new(size);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

void operator delete(void* memory) noexcept {
  if (memory != nullptr) count.remove(::malloc_usable_size(memory));
  std::free(memory);
}

void operator delete(void* memory, std::size_t) noexcept { ::operator delete(memory); }
