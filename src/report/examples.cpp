#include "report/examples.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "lockstep/base/cast.h"
#include "lockstep/data/batch.h"
#include "report/png.h"

namespace lockstep::report {

namespace {

constexpr std::int64_t kLargestSide = 48;  // as large as a page shows them; 200 of noise take 2 MB

// With the mean of k x k pixels for each; what is left over at the right and below is cut off.
Picture reduced(const Picture& picture) {
  const std::int64_t k =
      (std::max(picture.width, picture.height) + kLargestSide - 1) / kLargestSide;
  // A strip that is narrower than that would vanish.
  if (k <= 1 || std::min(picture.width, picture.height) < k) return picture;
  Picture result{.width = picture.width / k,
                 .height = picture.height / k,
                 .channels = picture.channels,
                 .pixels = {}};
  for (std::int64_t y = 0; y < result.height; ++y) {
    for (std::int64_t x = 0; x < result.width; ++x) {
      for (std::int64_t channel = 0; channel < picture.channels; ++channel) {
        std::int64_t sum = k * k / 2;  // rounds
        for (std::int64_t point = 0; point < k * k; ++point) {
          const std::int64_t pixel = (y * k + point / k) * picture.width + x * k + point % k;
          sum += picture.pixels[checked_cast<std::size_t>(pixel * picture.channels + channel)];
        }
        result.pixels.push_back(checked_cast<std::uint8_t>(sum / (k * k)));
      }
    }
  }
  return result;
}

Picture picture_of(const Dataset& dataset, std::span<const std::uint8_t> planes) {
  return reduced(picture_of_planes(planes, dataset.channels, dataset.height, dataset.width));
}

}  // namespace

std::vector<Examples> choose_examples(const Dataset& dataset, std::size_t most) {
  std::array<std::vector<std::uint32_t>, kClasses> by_label;
  for (std::int64_t i = 0; i < dataset.count; ++i) {
    const auto at = checked_cast<std::size_t>(i);
    by_label[dataset.labelled() ? dataset.labels[at] : 0].push_back(checked_cast<std::uint32_t>(i));
  }
  std::vector<Examples> result;
  for (std::size_t label = 0; label < by_label.size(); ++label) {
    const auto& images = by_label[label];
    if (images.empty()) continue;
    Examples examples{.label = {}, .count = std::ssize(images), .images = {}};
    if (dataset.labelled()) examples.label = static_cast<int>(label);
    const std::size_t shown = std::min(most, images.size());
    for (std::size_t i = 0; i < shown; ++i) {
      examples.images.push_back(images[i * images.size() / shown]);
    }
    result.push_back(std::move(examples));
  }
  return result;
}

bool drawable(const Dataset& dataset) { return dataset.channels == 1 || dataset.channels == 3; }

std::vector<Picture> stored_pictures(const Dataset& dataset,
                                     std::span<const std::uint32_t> images) {
  const auto size = checked_cast<std::size_t>(dataset.image_size());
  std::vector<Picture> pictures;
  for (const std::uint32_t image : images) {
    pictures.push_back(picture_of(dataset, std::span(dataset.pixels).subspan(image * size, size)));
  }
  return pictures;
}

std::vector<Picture> distorted_pictures(const Dataset& dataset,
                                        std::span<const std::uint32_t> images,
                                        const AugmentationOptions& augmentation,
                                        std::uint64_t seed) {
  const auto size = checked_cast<std::size_t>(dataset.image_size());
  std::vector<float> values(images.size() * size);
  BatchMaker(dataset, augmentation, seed)
      .fill(images, /*epoch=*/0, /*augment=*/true, values.data(), /*labels=*/nullptr);
  std::vector<std::uint8_t> pixels;
  pixels.reserve(values.size());
  for (const float value : values) {
    pixels.push_back(static_cast<std::uint8_t>(std::lround(255 * std::clamp(value, 0.0F, 1.0F))));
  }
  std::vector<Picture> pictures;
  for (std::size_t i = 0; i < images.size(); ++i) {
    pictures.push_back(picture_of(dataset, std::span(pixels).subspan(i * size, size)));
  }
  return pictures;
}

std::string picture_row(const std::vector<Picture>& pictures, const Examples& examples,
                        const std::string& what) {
  std::string row = "<div class=\"row\">";
  for (std::size_t i = 0; i < pictures.size(); ++i) {
    row += fmt::format(
        "<img src=\"data:image/png;base64,{}\" width=\"{}\" height=\"{}\" alt=\"{} image {}{}\">",
        base64(lockstep::encode_png(pictures[i])), pictures[i].width, pictures[i].height, what,
        std::int64_t{examples.images[i]} + 1,
        examples.label ? fmt::format(", class {}", *examples.label) : "");
  }
  return row + "</div>";
}

}  // namespace lockstep::report
