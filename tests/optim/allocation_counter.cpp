// Replaces operator new by one that counts. Apart from its users, so that no compiler sees through
// the pair of new and delete and warns that it does not match.
#include <atomic>
#include <cstdlib>
#include <new>

namespace lockstep {
namespace {
std::atomic<long> allocations{0};
}  // namespace

long allocation_count() { return allocations; }

}  // namespace lockstep

void* operator new(std::size_t size) {
  ++lockstep::allocations;
  if (void* memory = std::malloc(size != 0 ? size : 1)) return memory;
  throw std::bad_alloc();
}
// Else a sanitizer's own would be taken, whose memory is not to be freed here.
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  ++lockstep::allocations;
  return std::malloc(size != 0 ? size : 1);
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
