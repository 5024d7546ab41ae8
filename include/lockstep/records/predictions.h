// What a network said of each sample of a split: predictions-validation.safetensors and
// predictions-test.safetensors in a run directory, from which a report is made without the network.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lockstep {

/// Predictions of n samples. In the file: tensors logits F32 [n, classes], labels U8 [n] and
/// samples I64 [n]; the other members are its metadata.
struct Predictions {
  std::string split;       ///< "validation" or "test"
  std::int64_t epoch = 0;  ///< epoch and step of the metrics record made of these logits
  std::int64_t step = 0;
  std::int64_t weights_step = 0;  ///< global step whose weights were used
  std::int64_t classes = 0;
  std::vector<float> logits;
  std::vector<std::uint8_t> labels;
  std::vector<std::int64_t> samples;  ///< index of each in its data set
};

/// DIR/predictions-SPLIT.safetensors.
std::filesystem::path predictions_file(const std::filesystem::path& run, std::string_view split);

/// Replaces the file of predictions.split in the run directory, as one step. Sizes that do not fit
/// are Error{kInternal}; otherwise throws as replace_file does.
void write_predictions(const std::filesystem::path& run, const Predictions& predictions,
                       const std::function<void()>& progress = {});

/// Nothing where there is no such file. Throws Error{kBadData} naming file and fault unless it is
/// what write_predictions writes: tensors, shapes, labels below `classes`, samples >= 0, at least
/// one class.
std::optional<Predictions> read_predictions(const std::filesystem::path& run,
                                            std::string_view split);

}  // namespace lockstep
