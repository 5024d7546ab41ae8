#include "lockstep/train/checkpoint_reader.h"

#include <ATen/core/grad_mode.h>

#include "checkpoint_files.h"
#include "lockstep/base/hash.h"

namespace lockstep {

CheckpointReader::CheckpointReader(const std::filesystem::path& directory)
    : loaded_(load_checkpoint(directory)), state_(read_state(loaded_)) {}

std::string CheckpointReader::sha256() const {
  const auto average = loaded_.files.find(kAverageFile);
  return sha256_hex(average != loaded_.files.end() ? average->second
                                                   : loaded_.files.at(kModelFile));
}

void CheckpointReader::read_evaluation_weights(FlatParameters& parameters) const {
  const at::NoGradGuard no_grad;
  at::Tensor host = parameters.weights().cpu().clone();
  decode_evaluation_weights(loaded_, parameters.views(), host);
  at::Tensor weights = parameters.weights();
  weights.copy_(host);
}

}  // namespace lockstep
