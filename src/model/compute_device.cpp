#include "lockstep/model/compute_device.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <fmt/ranges.h>
#include <sched.h>
#include <torch/version.h>

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <sstream>
#include <vector>

#include "fast_convolution.h"
#include "freed_memory.h"
#include "gpu.h"
#include "lockstep/base/error.h"

namespace lockstep {

int available_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  return std::max(1, CPU_COUNT(&set));
}

ComputeDevice prepare_compute_device(const ModelOptions& options, int local_size,
                                     std::optional<int> gpu) {
  keep_freed_memory();
  const int threads = options.threads > 0 ? options.threads : available_cores() / local_size;
  at::set_num_threads(std::max(1, threads));
  at::set_num_interop_threads(1);
  at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/false);
  // It would also fill every new tensor with NaN, to show reads of memory never written: a cost in
  // each step.
  at::globalContext().setDeterministicFillUninitializedMemory(false);
  at::globalContext().setFlushDenormal(true);

  if (!gpu) return {};
  // cuBLAS is only deterministic with workspaces of its own, whose size decides which algorithm it
  // takes; it reads this when its handle is made.
  ::setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/1);
  gpu::select(*gpu);
  at::globalContext().setAllowTF32CuBLAS(false);
  at::globalContext().setAllowTF32CuDNN(false);
  at::globalContext().setBenchmarkCuDNN(false);
  at::globalContext().setDeterministicCuDNN(true);
  ComputeDevice result;
  result.device = at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(*gpu));
  result.stream = gpu::current_stream();
  return result;
}

void require_current_stream(const ComputeDevice& device) {
  LOCKSTEP_CHECK(!device.is_cuda() || gpu::current_stream() == device.stream,
                 "on a GPU one thread does it all: the one of prepare_compute_device");
}

std::string numerical_identity(const ComputeDevice& device, const ModelOptions& options) {
  const bool may_be_fast = has_fast_convolutions(options.name) && options.convolution != "direct";
  if (device.is_cuda()) {
    return fmt::format("cuda {} torch={}{}", gpu::identity(device.device.index()), TORCH_VERSION,
                       may_be_fast ? " convolutions=fused" : "");
  }
  // Their bits do not depend on which instruction set it is.
  const bool fast = may_be_fast && convolution_set(options.convolution) != InstructionSet::kNone;
  return fmt::format("cpu {} threads={} torch={}{}", at::get_cpu_capability(),
                     at::get_num_threads(), TORCH_VERSION, fast ? " convolutions=fast" : "");
}

std::string joint_identity(std::span<const std::string> identities) {
  std::vector<std::string> kinds;
  for (const std::string& identity : identities) {
    if (std::ranges::find(kinds, identity) == kinds.end()) kinds.push_back(identity);
  }
  std::vector<std::vector<std::string>> places;  // at each place of the text the words found there
  for (const std::string& kind : kinds) {
    std::istringstream stream(kind);
    const std::vector<std::string> words(std::istream_iterator<std::string>(stream), {});
    if (places.empty()) places.resize(words.size());
    if (words.size() != places.size()) return fmt::format("{}", fmt::join(kinds, " + "));
    for (std::size_t i = 0; i < words.size(); ++i) {
      if (std::ranges::find(places[i], words[i]) == places[i].end()) places[i].push_back(words[i]);
    }
  }
  std::string text;
  for (const auto& words : places) {
    text += fmt::format("{}{}", text.empty() ? "" : " ", fmt::join(words, "+"));
  }
  return text;
}

}  // namespace lockstep
