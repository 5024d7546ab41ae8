// What is in a data set on disk, and what is wrong with it.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "lockstep/base/error.h"
#include "lockstep/data/dataset.h"
#include "lockstep/data/dataset_facts.h"
#include "lockstep/data/load.h"

namespace lockstep {

/// Two images with the same pixels, as positions in their parts from 1, and their labels.
struct SameImages {
  std::int64_t image = 0;
  std::int64_t of = 0;
  std::optional<int> label{};
  std::optional<int> label_of{};
  bool otherwise_labelled() const { return label != label_of; }
};

/// One part of a data set: its training images, its test images, or all it has.
struct DataPart {
  std::string name;
  std::string source;
  /// Why nothing could be read; the members below are empty then.
  std::string problem{};
  ExitCode code = ExitCode::kDone;
  /// What was left out, a message each.
  std::vector<std::string> damaged{};
  std::int64_t count = 0;
  std::array<std::int64_t, 3> shape{};  ///< channels, height, width
  std::string sha256{};
  std::optional<std::array<std::int64_t, kClasses>> classes{};  ///< none: unlabelled
  PixelStatistics pixels{};
  std::vector<SameImages> repeated{};  ///< images that an earlier one of the part equals
  Dataset images{};
};

/// Images of one part that another one has too.
struct Overlap {
  std::string part;
  std::string with;
  std::int64_t count = 0;  ///< images of `part`
  std::vector<SameImages> same{};
};

struct DataFacts {
  std::filesystem::path path;
  std::vector<DataPart> parts;
  std::vector<Overlap> overlaps;
  /// kDone, or what the first part that is damaged deserves.
  ExitCode code() const;
};

/// Looks at options.data, and at options.test_data or else at the test images beside it. What is
/// damaged is part of the facts; throws Error{kInputMissing | kBadData | kInputOutput} when no part
/// can be read.
DataFacts inspect_data(const DataOptions& options);

}  // namespace lockstep
