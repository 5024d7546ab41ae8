// The base of all networks, and the registry that makes them by name.
#pragma once

#include <torch/nn/module.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "lockstep/model/step_context.h"

namespace lockstep {

/// A classifier whose parameters have PyTorch's names and layout (conv1.weight [out,in,kh,kw],
/// ...). Not thread-safe: one forward at a time.
class Network : public torch::nn::Module {
 public:
  /// images float32 [B,C,H,W] in [0,1] -> logits float32 [B, classes]. Randomness (dropout) comes
  /// from `context` alone.
  virtual at::Tensor forward(const at::Tensor& images, const StepContext& context) = 0;
};

/// What a network is built for.
struct NetworkShape {
  std::int64_t channels = 1;
  std::int64_t height = 28;
  std::int64_t width = 28;
  std::int64_t classes = 10;
  /// ModelOptions::convolution.
  std::string convolution = "auto";
};

/// One file in src/model/networks defines one of these; CMake collects them.
struct NetworkEntry {
  std::string name;
  std::string summary;  ///< one line for --help
  std::shared_ptr<Network> (*make)(const NetworkShape& shape);
  /// Whether it has convolutions that may be fast (src/model/fast_convolution.h).
  bool fast_convolutions = false;
  /// Whether its forward keeps the promise of Task::recordable (train/task.h).
  bool recordable = false;
};

/// All registered networks, by name.
const std::vector<NetworkEntry>& registered_networks();

/// Whether the registered network of this name has convolutions that may be fast.
bool has_fast_convolutions(const std::string& name);
/// Whether the registered network of this name is recordable.
bool is_recordable(const std::string& name);

/// Throws Error{kUsage} for a choice other than auto, direct and fast, and for fast where the
/// network (of a registered name) or this CPU has none. make_network calls it.
void check_convolution(const std::string& choice, const std::string& name);

/// Makes a network on the CPU with uninitialised parameters (see initialisation.h). Throws
/// Error{kUsage} for an unknown name, a shape the network cannot take, and for fast convolutions
/// that the network, this CPU or this build lacks.
std::shared_ptr<Network> make_network(const std::string& name, const NetworkShape& shape);

/// The same, for a shape that was read from a file: throws Error{kBadData}, before the memory is
/// taken, for a network that takes more than `most_bytes` while it is made. No other thread may
/// make tensors meanwhile.
std::shared_ptr<Network> make_network(const std::string& name, const NetworkShape& shape,
                                      std::uint64_t most_bytes);

}  // namespace lockstep
