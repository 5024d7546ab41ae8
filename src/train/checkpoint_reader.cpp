#include "lockstep/train/checkpoint_reader.h"

#include <ATen/core/grad_mode.h>

#include "checkpoint_files.h"
#include "lockstep/base/error.h"
#include "lockstep/base/hash.h"
#include "lockstep/data/dataset.h"

namespace lockstep {

CheckpointReader::CheckpointReader(const std::filesystem::path& directory)
    : loaded_(load_checkpoint(directory)), state_(read_state(loaded_)) {}

const std::vector<std::byte>& CheckpointReader::evaluation_file() const {
  const auto average = loaded_.files.find(kAverageFile);
  if (average != loaded_.files.end()) return average->second;
  const auto model = loaded_.files.find(kModelFile);
  if (model == loaded_.files.end()) {
    fail(ExitCode::kBadData, "{}: the checkpoint has no {}", loaded_.directory.string(),
         kModelFile);
  }
  return model->second;
}

std::string CheckpointReader::sha256() const { return sha256_hex(evaluation_file()); }

NetworkShape CheckpointReader::network_shape() const {
  NetworkShape shape{.classes = kClasses};
  if (const auto& image = state_.image_shape; !image.empty()) {
    shape.channels = image[0];
    shape.height = image[1];
    shape.width = image[2];
  }
  // A run's "fast" is no demand on whoever reads it, on whatever machine.
  const auto convolution = state_.settings.find("convolution");
  const bool fast = convolution != state_.settings.end() && convolution->second != "direct";
  shape.convolution = fast ? "auto" : "direct";
  return shape;
}

std::shared_ptr<Network> CheckpointReader::make_network(const NetworkShape& shape) const {
  // What making a network takes besides its weights is small.
  constexpr std::uint64_t kBesides = std::uint64_t{16} << 20;
  const std::string file = (loaded_.directory / kStateFile).string();
  const auto name = state_.settings.find("model");
  if (name == state_.settings.end()) fail(ExitCode::kBadData, "{}: names no network", file);
  check_convolution(shape.convolution, name->second);  // the caller's error, not the file's
  try {
    return lockstep::make_network(name->second, shape, 2 * evaluation_file().size() + kBesides);
  } catch (const Error& error) {
    fail(ExitCode::kBadData, "{}: {}", file, error.what());
  }
}

void CheckpointReader::read_evaluation_weights(FlatParameters& parameters) const {
  const at::NoGradGuard no_grad;
  at::Tensor host = parameters.weights().cpu().clone();
  at::Tensor host_values = parameters.buffers().values().cpu().clone();
  decode_evaluation_weights(loaded_, parameters, host, host_values);
  at::Tensor weights = parameters.weights();
  at::Tensor values = parameters.buffers().values();
  weights.copy_(host);
  values.copy_(host_values);
  parameters.buffers().restore();
}

}  // namespace lockstep
