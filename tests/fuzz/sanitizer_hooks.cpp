#include <sanitizer/allocator_interface.h>

#include "allocations.h"

using lockstep::fuzz::internal::count;

extern "C" {

void __sanitizer_malloc_hook(const volatile void*, size_t size) { count.add(size); }

void __sanitizer_free_hook(const volatile void* memory) {
  if (count.active && memory != nullptr) {
    count.remove(__sanitizer_get_allocated_size(const_cast<const void*>(memory)));
  }
}

}  // extern "C"
