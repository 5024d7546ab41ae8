// Images of a data set for a page: some of each class, and the same ones distorted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lockstep/data/augmentation.h"
#include "lockstep/data/dataset.h"

namespace lockstep::report {

struct Examples {
  std::optional<int> label;  ///< none: of an unlabelled data set
  std::int64_t count = 0;    ///< images with that label
  std::vector<std::uint32_t> images;
};

/// At most `most` of each class that occurs, spread evenly over the data set.
std::vector<Examples> choose_examples(const Dataset& dataset, std::size_t most);

/// Whether images of this data set can be shown: they are grey or RGB.
bool drawable(const Dataset& dataset);

/// The images as <img> elements, side by side. `part` ("training") is for their descriptions, in
/// which they are numbered from 1.
std::string example_row(const Dataset& dataset, const Examples& examples, const std::string& part);

/// The same images as the first epoch of a training with this seed sees them.
std::string distorted_row(const Dataset& dataset, const Examples& examples, const std::string& part,
                          const AugmentationOptions& augmentation, std::uint64_t seed);

}  // namespace lockstep::report
