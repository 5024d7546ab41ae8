#include "data/exif.h"

#include <cstdint>
#include <string_view>
#include <utility>

#include "lockstep/base/error.h"

namespace lockstep::data {

namespace {

constexpr std::string_view kStart{"Exif\0\0", 6};
constexpr std::size_t kEntrySize = 12;
constexpr std::uint32_t kOrientationTag = 0x0112;
constexpr std::uint32_t kShort = 3;

// TIFF integers in either byte order; 0 beyond the end.
struct Tiff {
  std::span<const std::byte> bytes;
  bool big_endian = false;

  std::uint32_t number(std::size_t at, std::size_t size) const {
    if (at > bytes.size() || bytes.size() - at < size) return 0;
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < size; ++i) {
      const std::size_t place = big_endian ? at + i : at + size - 1 - i;
      value = value << 8 | std::to_integer<std::uint32_t>(bytes[place]);
    }
    return value;
  }
};

}  // namespace

int exif_orientation(std::span<const std::byte> segment) {
  const std::string_view text(reinterpret_cast<const char*>(segment.data()), segment.size());
  if (!text.starts_with(kStart)) return 1;
  const Tiff tiff{.bytes = segment.subspan(kStart.size()),
                  .big_endian = text.substr(kStart.size()).starts_with("MM")};
  const std::size_t directory = tiff.number(4, 4);
  const std::uint32_t entries = tiff.number(directory, 2);
  for (std::size_t i = 0; i < entries; ++i) {
    const std::size_t entry = directory + 2 + i * kEntrySize;
    if (tiff.number(entry, 2) != kOrientationTag) continue;
    const std::uint32_t value = tiff.number(entry + 8, 2);
    const bool sound = tiff.number(entry + 2, 2) == kShort && value >= 1 && value <= 8;
    return sound ? static_cast<int>(value) : 1;
  }
  return 1;
}

Image upright(Image image, int orientation) {
  LOCKSTEP_CHECK(orientation >= 1 && orientation <= 8, "orientation {}", orientation);
  if (orientation == 1) return image;
  // Each of the eight is a transposition or none, then a mirroring or none in each direction.
  const bool transposed = orientation >= 5;
  const bool mirrored_x =
      orientation == 2 || orientation == 3 || orientation == 7 || orientation == 6;
  const bool mirrored_y =
      orientation == 3 || orientation == 4 || orientation == 7 || orientation == 8;
  Image turned{.height = transposed ? image.width : image.height,
               .width = transposed ? image.height : image.width,
               .channels = image.channels,
               .pixels = {}};
  turned.pixels.reserve(image.pixels.size());
  for (std::int64_t row = 0; row < turned.height; ++row) {
    for (std::int64_t column = 0; column < turned.width; ++column) {
      std::int64_t y = mirrored_y ? turned.height - 1 - row : row;
      std::int64_t x = mirrored_x ? turned.width - 1 - column : column;
      if (transposed) std::swap(x, y);
      const std::uint8_t* pixel = image.pixels.data() + (y * image.width + x) * image.channels;
      turned.pixels.insert(turned.pixels.end(), pixel, pixel + image.channels);
    }
  }
  return turned;
}

}  // namespace lockstep::data
