#include "lockstep/kernels/workspace.h"

#include <new>

namespace lockstep {

namespace {

constexpr std::align_val_t kAlignment{64};

}  // namespace

void Workspace::Free::operator()(float* memory) const { ::operator delete[](memory, kAlignment); }

float* Workspace::floats(std::size_t count) {
  if (count > capacity_) {
    if (count > static_cast<std::size_t>(-1) / sizeof(float)) throw std::bad_alloc();
    // First the old block, so that both are never held.
    memory_.reset();
    capacity_ = 0;
    memory_.reset(static_cast<float*>(::operator new[](count * sizeof(float), kAlignment)));
    capacity_ = count;
  }
  return memory_.get();
}

}  // namespace lockstep
