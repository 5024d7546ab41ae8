// Run directories as lockstep train writes them, made in a moment: invented numbers that fit
// together, predictions for the images of the embedded MNIST.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "lockstep/records/predictions.h"

namespace lockstep::test {

struct SampleRun {
  std::int64_t epochs = 5;  ///< that are complete
  std::int64_t epochs_wanted = 5;
  std::int64_t ranks = 2;
  std::uint64_t seed = 1;
  bool test = true;  ///< the test record and its predictions
  bool predictions = true;
  std::string host = "node1";
  std::string learning_rate = "0.001";
};

/// Fills `directory` (made if need be). The same description gives the same bytes.
void write_sample_run(const std::filesystem::path& directory, const SampleRun& sample);

/// Random logits, drawn towards the label the more the higher `skill`.
Predictions random_predictions(std::uint64_t seed, const std::vector<std::uint8_t>& labels,
                               std::int64_t classes, double skill);

}  // namespace lockstep::test
