// The nccl backend: over the test double, or, built with the real headers, on GPUs.
#include <cuda_runtime.h>

#include <utility>
#include <vector>

#include "comm/backends.h"
#include "lockstep/base/error.h"
#include "lockstep/comm/decorators.h"
#include "lockstep/comm/device.h"
#include "subject.h"
#ifdef LOCKSTEP_NCCL_DOUBLE
#include "nccl_double.h"
#endif

namespace lockstep::testing {

namespace {

void check(cudaError_t result) {
  LOCKSTEP_CHECK(result == cudaSuccess, "{}", cudaGetErrorString(result));
}

class DeviceSubject final : public Subject {
 public:
  template <typename Make>
  DeviceSubject(World& world, bool own_stream, Make make) {
    if (own_stream) check(cudaStreamCreateWithPriority(&compute_, cudaStreamNonBlocking, 0));
    collectives_ = make(world, compute_);
  }
  ~DeviceSubject() override {
    collectives_.reset();
    if (compute_ != nullptr) cudaStreamDestroy(compute_);
    for (void* memory : memory_) cudaFree(memory);
  }
  Collectives& collectives() override { return *collectives_; }
  void* allocate(std::size_t bytes) override {
    void* memory = nullptr;
    check(cudaMalloc(&memory, bytes));
    memory_.push_back(memory);
    return memory;
  }
  void write(void* to, std::span<const std::byte> from) override {
    check(cudaMemcpyAsync(to, from.data(), from.size(), cudaMemcpyHostToDevice, compute_));
  }
  void read(std::span<std::byte> to, const void* from) override {
    check(cudaMemcpyAsync(to.data(), from, to.size(), cudaMemcpyDeviceToHost, compute_));
  }
  void finish() override { check(cudaStreamSynchronize(compute_)); }

 private:
  cudaStream_t compute_ = nullptr;
  std::vector<void*> memory_;
  std::unique_ptr<Collectives> collectives_;
};

auto bare = [](World& world, cudaStream_t compute) {
  return make_nccl_collectives(world, compute);
};
auto recording = [](World& world, cudaStream_t compute) {
  return make_recording(world, make_nccl_collectives(world, compute));
};

}  // namespace

#ifdef LOCKSTEP_NCCL_DOUBLE

std::vector<SubjectFactory> subject_factories() {
  using nccl_double::Order;
  const auto factory = [](std::string name, Order order, bool own_stream, auto make) {
    return SubjectFactory{std::move(name), [=](World& world) -> std::unique_ptr<Subject> {
                            nccl_double::reset(order);
                            return std::make_unique<DeviceSubject>(world, own_stream, make);
                          }};
  };
  return {
      factory("ComputeFirst", Order::kEarliestStreamFirst, true, bare),
      factory("CommunicationFirst", Order::kLatestStreamFirst, true, bare),
      factory("RecordingDefaultStreamFirst", Order::kEarliestStreamFirst, false, recording),
      factory("RecordingDefaultStreamLast", Order::kLatestStreamFirst, false, recording),
  };
}

#else

std::vector<SubjectFactory> subject_factories() {
  const auto factory = [](std::string name, bool own_stream, auto make) {
    return SubjectFactory{std::move(name),
                          [=](World& world) -> std::unique_ptr<Subject> {
                            select_device(world);
                            return std::make_unique<DeviceSubject>(world, own_stream, make);
                          },
                          [](World& world) -> std::string {
                            const std::int64_t lacking =
                                world.local_size() > device_count() ? 1 : 0;
                            return world.all_reduce_max(lacking) != 0 ? "needs a GPU a rank" : "";
                          }};
  };
  return {factory("Nccl", true, bare), factory("RecordingNccl", false, recording)};
}

#endif

}  // namespace lockstep::testing
