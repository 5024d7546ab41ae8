// Images of a data set for a page: some of each class, and the same ones distorted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lockstep/data/augmentation.h"
#include "lockstep/data/dataset.h"
#include "lockstep/records/picture.h"

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

/// The images, large ones reduced to what a page has room for: each pixel the mean of k x k.
std::vector<Picture> stored_pictures(const Dataset& dataset, std::span<const std::uint32_t> images);

/// The same as the first epoch of a training with this seed sees them.
std::vector<Picture> distorted_pictures(const Dataset& dataset,
                                        std::span<const std::uint32_t> images,
                                        const AugmentationOptions& augmentation,
                                        std::uint64_t seed);

/// The pictures of these examples side by side. `what` ("Training") is HTML and begins their
/// descriptions, in which they are numbered from 1.
std::string picture_row(const std::vector<Picture>& pictures, const Examples& examples,
                        const std::string& what);

}  // namespace lockstep::report
