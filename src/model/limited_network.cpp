// make_network with a bound on memory.
#include <c10/core/CPUAllocator.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <new>

#include "lockstep/base/error.h"
#include "lockstep/model/network.h"

namespace lockstep {

namespace {

constexpr std::int64_t kUnlimited = INT64_MAX;

// LibTorch's allocator with a limit. It lives as long as the process: tensors made meanwhile go on
// naming it as theirs.
class LimitedAllocator : public c10::Allocator {
 public:
  c10::DataPtr allocate(std::size_t size) override {
    if (left_ != kUnlimited) {
      // Compared before they are subtracted: a size may have been made to overflow.
      if (size > static_cast<std::uint64_t>(left_)) throw std::bad_alloc();
      left_ -= static_cast<std::int64_t>(size);
    }
    return unlimited_->allocate(size);
  }
  bool is_simple_data_ptr(const c10::DataPtr& data) const override {
    return unlimited_->is_simple_data_ptr(data);
  }
  c10::DeleterFnPtr raw_deleter() const override { return unlimited_->raw_deleter(); }
  void copy_data(void* to, const void* from, std::size_t size) const override {
    unlimited_->copy_data(to, from, size);
  }

  void begin(std::uint64_t most_bytes) {
    unlimited_ = c10::GetCPUAllocator();
    left_ = static_cast<std::int64_t>(std::min<std::uint64_t>(most_bytes, kUnlimited - 1));
    c10::SetCPUAllocator(this, kPriority);
  }
  void end() {
    left_ = kUnlimited;
    c10::SetCPUAllocator(unlimited_, kPriority);
  }

 private:
  // One of a lower priority than the present one's is not taken.
  static constexpr std::uint8_t kPriority = UINT8_MAX;

  c10::Allocator* unlimited_ = nullptr;
  std::atomic<std::int64_t> left_ = kUnlimited;
};

class MemoryLimit {
 public:
  explicit MemoryLimit(std::uint64_t most_bytes) { allocator().begin(most_bytes); }
  ~MemoryLimit() { allocator().end(); }
  MemoryLimit(const MemoryLimit&) = delete;
  MemoryLimit& operator=(const MemoryLimit&) = delete;

 private:
  static LimitedAllocator& allocator() {
    static auto* const only = new LimitedAllocator;
    return *only;
  }
};

}  // namespace

std::shared_ptr<Network> make_network(const std::string& name, const NetworkShape& shape,
                                      std::uint64_t most_bytes) {
  try {
    const MemoryLimit limit(most_bytes);
    return make_network(name, shape);
  } catch (const std::bad_alloc&) {
    fail(ExitCode::kBadData, "the network {} for images of {}x{}x{} takes more than {} bytes", name,
         shape.channels, shape.height, shape.width, most_bytes);
  }
}

}  // namespace lockstep
