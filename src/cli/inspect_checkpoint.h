// lockstep inspect of a checkpoint: its tensors, where it stands, and whether it is whole.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "lockstep/base/error.h"
#include "lockstep/train/training_state.h"

namespace lockstep {

/// Of the finite values of a float32 tensor.
struct TensorStatistics {
  double mean = 0;
  double standard_deviation = 0;
  double smallest = 0;
  double largest = 0;
  std::int64_t not_finite = 0;
};

struct TensorFacts {
  std::string name;
  std::string dtype;
  std::vector<std::int64_t> shape;
  std::int64_t count = 0;                        ///< values
  std::optional<TensorStatistics> statistics{};  ///< none: of another type than F32
};

struct FileFacts {
  std::string name;
  std::uint64_t size = 0;
  std::string sha256;
  std::vector<TensorFacts> tensors{};  ///< of safetensors files
};

struct CheckpointFacts {
  std::filesystem::path directory;
  /// Why it cannot be used; the members below are empty then.
  std::string problem{};
  ExitCode code = ExitCode::kDone;
  std::int64_t global_step = 0;
  std::vector<FileFacts> files{};
  TrainingState state{};
};

/// Reads and verifies all of it; damage is part of the facts.
CheckpointFacts inspect_checkpoint(const std::filesystem::path& directory);

/// For people, lines of at most 100 columns where names fit.
std::string checkpoint_text(const CheckpointFacts& facts);
/// One JSON object.
std::string checkpoint_json(const CheckpointFacts& facts);

}  // namespace lockstep
