// What can be said of a dataset without a network.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "lockstep/data/dataset.h"

namespace lockstep {

/// Of all pixels of all images, in units of pixel values, 0 .. 255.
struct PixelStatistics {
  double mean = 0;
  double standard_deviation = 0;  ///< of the whole population
  int smallest = 0;
  int largest = 0;
  double share_of_zeros = 0;
  std::array<std::int64_t, 256> histogram{};  ///< how often each value occurs
  /// Images in which every value is the same: they show nothing. Ascending.
  std::vector<std::uint32_t> plain_images;
};

/// The dataset must have at least one image.
PixelStatistics pixel_statistics(const Dataset& dataset);

/// An image that has the same pixels as one that comes before it, or that another dataset has.
struct Duplicate {
  std::uint32_t image = 0;
  std::uint32_t of = 0;  ///< the first one with these pixels
  bool operator==(const Duplicate&) const = default;
};

/// Finds images by their pixels. The dataset must outlive it.
class ImageIndex {
 public:
  explicit ImageIndex(const Dataset& dataset);

  /// The images of the dataset itself that an earlier one equals, ascending.
  const std::vector<Duplicate>& repeated() const { return repeated_; }
  /// The images of another dataset that this one has, ascending; none where the shapes differ.
  std::vector<Duplicate> find(const Dataset& other) const;

 private:
  const Dataset& dataset_;
  std::unordered_map<std::string_view, std::uint32_t> first_;
  std::vector<Duplicate> repeated_;
};

}  // namespace lockstep
