// Streams and events of the double.
#include <cuda_runtime.h>
#include <sched.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <vector>

#include "cuda_double.h"
#include "nccl_double.h"

struct DoubleStream {
  struct Work {
    const void* owner;
    std::function<bool()> step;
  };
  std::deque<Work> queue;
};

struct DoubleEvent {
  // Shared with work under way: an event may be destroyed while a stream still waits for it.
  struct Counts {
    std::uint64_t recorded = 0;  // records enqueued
    std::uint64_t reached = 0;   // the newest record that has run
  };
  std::shared_ptr<Counts> counts = std::make_shared<Counts>();
};

namespace {

struct Machine {
  DoubleStream default_stream;
  std::vector<DoubleStream*> streams = {&default_stream};  // by age
  nccl_double::Order order = nccl_double::Order::kEarliestStreamFirst;
  std::vector<std::string> devices = {"one"};
  int device = 0;
};

Machine& machine() {
  static Machine instance;
  return instance;
}

DoubleStream* resolve(cudaStream_t stream) {
  return stream == nullptr ? &machine().default_stream : stream;
}

// Runs everything that can run now, always from the most preferred stream that can.
void run() {
  auto& streams = machine().streams;
  const auto run_one = [](DoubleStream* stream) {
    if (stream->queue.empty() || !stream->queue.front().step()) return false;
    stream->queue.pop_front();
    return true;
  };
  const bool earliest = machine().order == nccl_double::Order::kEarliestStreamFirst;
  while (earliest ? std::any_of(streams.begin(), streams.end(), run_one)
                  : std::any_of(streams.rbegin(), streams.rend(), run_one)) {
  }
}

}  // namespace

namespace nccl_double {

void enqueue(cudaStream_t stream, const void* owner, std::function<bool()> step) {
  resolve(stream)->queue.push_back({owner, std::move(step)});
}

void cancel(const void* owner) {
  for (DoubleStream* stream : machine().streams) {
    std::erase_if(stream->queue, [&](const auto& work) { return work.owner == owner; });
  }
}

void reset_machine(Order order) {
  machine().order = order;
  set_devices({"one"});
}

void set_devices(std::vector<std::string> identities) {
  machine().devices = std::move(identities);
  machine().device = 0;
}

}  // namespace nccl_double

cudaError_t cudaGetDeviceCount(int* count) {
  if (machine().devices.empty()) return cudaErrorNoDevice;  // and *count stays as it was
  *count = static_cast<int>(machine().devices.size());
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  *properties = {};
  const std::string& identity = machine().devices.at(static_cast<std::size_t>(device));
  std::snprintf(properties->name, sizeof(properties->name), "Double of a GPU");
  std::memcpy(properties->uuid.bytes, identity.data(), std::min<std::size_t>(identity.size(), 16));
  return cudaSuccess;
}

cudaError_t cudaGetDevice(int* device) {
  *device = machine().device;
  return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) {
  if (device < 0 || device >= static_cast<int>(machine().devices.size()))
    return cudaErrorInvalidValue;
  machine().device = device;
  return cudaSuccess;
}

cudaError_t cudaGetLastError() { return cudaSuccess; }

const char* cudaGetErrorString(cudaError_t error) {
  return error == cudaErrorNoDevice ? "no CUDA-capable device is detected" : "error of the double";
}

cudaError_t cudaMalloc(void** memory, std::size_t bytes) {
  *memory = std::malloc(std::max<std::size_t>(bytes, 1));
  return cudaSuccess;
}

cudaError_t cudaFree(void* memory) {
  std::free(memory);
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  if (bytes == 0) return cudaSuccess;
  if (kind == cudaMemcpyHostToDevice) {
    // Pageable host memory is staged before the call returns.
    const auto* first = static_cast<const std::byte*>(from);
    nccl_double::enqueue(stream, nullptr, [to, staged = std::vector(first, first + bytes)] {
      std::memcpy(to, staged.data(), staged.size());
      return true;
    });
  } else {
    nccl_double::enqueue(stream, nullptr, [to, from, bytes] {
      std::memcpy(to, from, bytes);
      return true;
    });
  }
  return cudaSuccess;
}

cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  *least = 0;
  *greatest = -5;
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned int, int) {
  *stream = new DoubleStream;
  machine().streams.push_back(*stream);
  return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  // The real call returns at once and the work runs on; here what can run does, the rest is
  // dropped.
  run();
  std::erase(machine().streams, stream);
  delete stream;
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  const auto start = std::chrono::steady_clock::now();
  for (run(); !resolve(stream)->queue.empty(); run()) {
    ::sched_yield();
    if (std::chrono::steady_clock::now() - start < std::chrono::seconds(60)) continue;
    std::fputs("the double waits for a stream that never ends\n", stderr);
    std::abort();
  }
  return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned int) {
  // Of the newest record at this moment; an event that was never recorded is not waited for.
  nccl_double::enqueue(stream, nullptr, [counts = event->counts, record = event->counts->recorded] {
    return counts->reached >= record;
  });
  return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned int) {
  *event = new DoubleEvent;
  return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  nccl_double::enqueue(stream, nullptr,
                       [counts = event->counts, record = ++event->counts->recorded] {
                         counts->reached = std::max(counts->reached, record);
                         return true;
                       });
  return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  run();
  return event->counts->reached >= event->counts->recorded ? cudaSuccess : cudaErrorNotReady;
}
