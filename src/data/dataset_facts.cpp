#include "lockstep/data/dataset_facts.h"

#include <algorithm>
#include <cmath>

#include "lockstep/base/cast.h"
#include "lockstep/base/error.h"

namespace lockstep {

namespace {

std::string_view pixels_of(const Dataset& dataset, std::size_t image) {
  const auto size = checked_cast<std::size_t>(dataset.image_size());
  return {reinterpret_cast<const char*>(dataset.pixels.data()) + image * size, size};
}

}  // namespace

PixelStatistics pixel_statistics(const Dataset& dataset) {
  LOCKSTEP_CHECK(dataset.count > 0, "no image");
  PixelStatistics result;
  auto& histogram = result.histogram;
  for (const std::uint8_t value : dataset.pixels) ++histogram[value];
  // Whole numbers: exact, whatever the order.
  std::int64_t sum = 0;
  std::int64_t squares = 0;
  result.smallest = 255;
  for (std::size_t value = 0; value < histogram.size(); ++value) {
    const auto v = static_cast<std::int64_t>(value);
    sum += v * histogram[value];
    squares += v * v * histogram[value];
    if (histogram[value] == 0) continue;
    result.smallest = std::min(result.smallest, static_cast<int>(value));
    result.largest = static_cast<int>(value);
  }
  const auto all = static_cast<double>(dataset.pixels.size());
  result.mean = static_cast<double>(sum) / all;
  result.standard_deviation =
      std::sqrt(std::max(0.0, static_cast<double>(squares) / all - result.mean * result.mean));
  result.share_of_zeros = static_cast<double>(histogram[0]) / all;
  for (std::size_t i = 0; i < checked_cast<std::size_t>(dataset.count); ++i) {
    const std::string_view pixels = pixels_of(dataset, i);
    if (pixels.find_first_not_of(pixels[0]) == std::string_view::npos) {
      result.plain_images.push_back(static_cast<std::uint32_t>(i));
    }
  }
  return result;
}

ImageIndex::ImageIndex(const Dataset& dataset) : dataset_(dataset) {
  const auto count = checked_cast<std::size_t>(dataset.count);
  first_.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    const auto image = static_cast<std::uint32_t>(i);
    const auto [found, is_new] = first_.emplace(pixels_of(dataset, i), image);
    if (!is_new) repeated_.push_back({.image = image, .of = found->second});
  }
}

std::vector<Duplicate> ImageIndex::find(const Dataset& other) const {
  std::vector<Duplicate> result;
  if (other.channels != dataset_.channels || other.height != dataset_.height ||
      other.width != dataset_.width) {
    return result;
  }
  for (std::size_t i = 0; i < checked_cast<std::size_t>(other.count); ++i) {
    const auto found = first_.find(pixels_of(other, i));
    if (found == first_.end()) continue;
    result.push_back({.image = static_cast<std::uint32_t>(i), .of = found->second});
  }
  return result;
}

}  // namespace lockstep
