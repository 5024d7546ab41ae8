// GPUs by the CUDA runtime.
#include <cuda_runtime.h>
#include <fmt/core.h>

#include <cstddef>
#include <cstdio>
#include <cstring>
#include <optional>
#include <vector>

#include "lockstep/base/error.h"
#include "lockstep/comm/device.h"
#include "lockstep/comm/together.h"
#include "lockstep/comm/world.h"

namespace lockstep {

namespace {

// What a rank tells the others of the GPU it is about to take.
struct Choice {
  int devices = 0;
  int index = -1;
  char uuid[16] = {};
  char name[256] = {};  // without a GPU: why there is none
};

Choice choose(int local_rank) {
  Choice choice;
  const auto refused = [&choice](cudaError_t reason) {
    cudaGetLastError();
    std::snprintf(choice.name, sizeof(choice.name), "%s", cudaGetErrorString(reason));
    return choice;
  };
  if (const cudaError_t result = cudaGetDeviceCount(&choice.devices); result != cudaSuccess) {
    choice.devices = 0;
    return refused(result);
  }
  if (choice.devices == 0) return refused(cudaErrorNoDevice);
  // A launcher that shows each rank its own GPU only leaves one of index 0.
  const int index = local_rank % choice.devices;
  cudaDeviceProp properties{};
  const cudaError_t result = cudaGetDeviceProperties(&properties, index);
  if (result != cudaSuccess) return refused(result);
  choice.index = index;
  static_assert(sizeof(properties.uuid) == sizeof(choice.uuid));
  std::memcpy(choice.uuid, &properties.uuid, sizeof(choice.uuid));
  static_assert(sizeof(properties.name) == sizeof(choice.name));
  std::memcpy(choice.name, properties.name, sizeof(choice.name));
  return choice;
}

std::optional<World::Failure> objection(const World& world, const std::vector<Choice>& choices) {
  const Choice& own = choices[static_cast<std::size_t>(world.rank())];
  if (own.index < 0) {
    return World::Failure(
        ExitCode::kUsage,
        fmt::format("--device cuda: this rank sees no usable GPU (CUDA says: {})", own.name));
  }
  for (int other = 0; other < world.size(); ++other) {
    const Choice& theirs = choices[static_cast<std::size_t>(other)];
    if (other == world.rank() || theirs.index < 0) continue;
    if (std::memcmp(theirs.uuid, own.uuid, sizeof(own.uuid)) != 0) continue;
    return World::Failure(
        ExitCode::kUsage,
        fmt::format(
            "ranks {} and {} would share GPU {} ({}) of {}: {} ranks run there and this one "
            "sees {} GPU(s); start at most one rank a GPU, or choose --device cpu",
            world.rank(), other, own.index, own.name, world.host(), world.local_size(),
            own.devices));
  }
  return std::nullopt;
}

}  // namespace

bool built_with_cuda() { return true; }

int device_count() {
  int count = 0;
  if (cudaGetDeviceCount(&count) == cudaSuccess) return count;
  cudaGetLastError();  // no driver is an answer, not an error to be met later
  return 0;
}

int select_device(World& world) {
  const Choice own = choose(world.local_rank());
  const std::vector<Choice> choices = world.all_gather_value(own);
  if (const auto failure = world.agree(objection(world, choices))) {
    throw AgreedError(failure->first, failure->second);
  }
  // Since CUDA 12 this makes the context, which fails on a GPU that others have filled.
  together(world, [&own] {
    const cudaError_t result = cudaSetDevice(own.index);
    if (result != cudaSuccess) {
      fail(ExitCode::kUnavailable, "GPU {} ({}) cannot be used: {}", own.index, own.name,
           cudaGetErrorString(result));
    }
  });
  return own.index;
}

}  // namespace lockstep
