// What lockstep predict has found out, and how it says so.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lockstep/data/dataset.h"

namespace lockstep {

struct Prediction {
  std::int64_t id = 0;   ///< position in the input, from 1
  std::size_t file = 0;  ///< index into PredictedInputs::files
  std::int64_t row = 0;  ///< position in a file that holds many, from 1; 0: the file is one picture
  std::array<double, kClasses> probabilities{};
  std::optional<int> truth = std::nullopt;  ///< the label that the input itself has

  /// Classes, the likeliest first; of equal ones the smaller first.
  std::array<int, kClasses> ranking() const;
};

/// A file that could not be read.
struct FailedInput {
  std::int64_t id = 0;   ///< the position it keeps
  std::size_t file = 0;  ///< index into PredictedInputs::files
  std::string problem;
};

struct PredictedInputs {
  std::vector<std::string> files;
  std::vector<Prediction> images;
  std::vector<FailedInput> failed{};
};

/// Lines for people, the `top` likeliest classes of each image, 1 to kClasses; with labels the
/// accuracy. Empty for no image.
std::string prediction_table(const PredictedInputs& predictions, int top);
/// One JSON object.
std::string prediction_json(const PredictedInputs& predictions, int top);
/// A header and ImageId,Label a line.
std::string prediction_csv(const PredictedInputs& predictions);

}  // namespace lockstep
