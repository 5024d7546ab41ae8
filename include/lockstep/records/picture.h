// Small pictures: of what a network gets wrong.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace lockstep {

/// 8 bits a channel; row by row, a pixel's channels side by side.
struct Picture {
  std::int64_t width = 0;
  std::int64_t height = 0;
  int channels = 1;  ///< 1: grey, 3: RGB
  std::vector<std::uint8_t> pixels;
};

/// From one plane a channel, as data sets have them: [channels, height, width].
Picture picture_of_planes(std::span<const std::uint8_t> planes, std::int64_t channels,
                          std::int64_t height, std::int64_t width);

/// As a PNG file. Throws Error{kInternal} when the sizes do not fit together or libpng fails.
std::vector<std::byte> encode_png(const Picture& picture);

/// A confusion matrix (rows: labels, columns: predictions; square, at least one class) as a table
/// in RGB: what is right in blue, errors in orange on a logarithmic scale, the counts in digits.
Picture draw_confusion(std::span<const std::vector<std::int64_t>> confusion);

/// A misclassified image.
struct PicturedError {
  Picture picture;
  int label = 0;
  int predicted = 0;
};

/// Them side by side in RGB, small ones doubled, below each its label and, in orange, what it was
/// taken for. At least one; the images have the same size.
Picture draw_errors(std::span<const PicturedError> errors);

}  // namespace lockstep
