// Labelled images in memory.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace lockstep {

/// Labels are 0 .. kClasses-1.
inline constexpr int kClasses = 10;

/// Images [count, channels, height, width], each pixel 0 .. 255, and their labels. The loaders of
/// load.h give only datasets whose vectors have the sizes said here, with count and image_size() at
/// least 1 and count below 2^32, so that an index fits std::uint32_t.
struct Dataset {
  std::int64_t count = 0;
  std::int64_t channels = 0;
  std::int64_t height = 0;
  std::int64_t width = 0;
  /// count * channels * height * width values, the last dimension fastest.
  std::vector<std::uint8_t> pixels;
  /// count values below kClasses, or empty: unlabelled.
  std::vector<std::uint8_t> labels;
  /// The file or files this came from, for messages; no part of sha256().
  std::string source;

  /// Values of one image: channels * height * width.
  std::int64_t image_size() const { return channels * height * width; }
  bool labelled() const { return !labels.empty(); }
  /// 64 hexadecimal digits over dimensions, pixels and labels: ranks compare it before they train,
  /// since each has read its own copy.
  std::string sha256() const;
};

/// How many of the samples `indices` carry each label. The dataset must be labelled.
std::array<std::int64_t, kClasses> class_counts(const Dataset& dataset,
                                                std::span<const std::uint32_t> indices);

/// Throws Error{kBadData} naming both sources and shapes unless images of both have the same shape.
void require_same_shape(const Dataset& dataset, const Dataset& reference);

}  // namespace lockstep
