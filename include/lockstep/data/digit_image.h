// Pictures made into what a network was trained on.
#pragma once

#include <cstdint>
#include <vector>

#include "lockstep/data/image_file.h"

namespace lockstep {

/// Whether the strokes are darker than the ground: found out, or said.
enum class Invert { kAuto, kYes, kNo };

inline constexpr std::int64_t kDigitSide = 28;

/// One digit on an even ground as MNIST has it, [kDigitSide, kDigitSide], light on 0: scaled by
/// area averaging so that its bounding box just fits 20 x 20, and moved by whole pixels so that its
/// centre of mass lies in the middle (LeCun et al., "Gradient-based learning applied to document
/// recognition", 1998, section III.A; all of MNIST's own images keep to that). Light ground is
/// inverted:
/// - Colours are projected on the axis along which they differ most, so that colours of equal
///   brightness are told apart too. Transparent parts are ground.
/// - The values are parted in two classes (Otsu, "A threshold selection method from gray-level
///   histograms", 1979). The ground is the class to which most of the border belongs, or, where the
///   border tells nothing, most of the picture; with kYes it is the lighter one, with kNo the
///   darker one.
/// - What differs from the ground no more than its own noise is ground. The strongest stroke
///   becomes 255.
/// A picture of one colour gives zeros. An image of MNIST, and any of these enlarged by a whole
/// factor, padded, inverted or in two other colours, gives that image, but for rounding and strokes
/// fainter than 8 %. The image must have at least one pixel. Thread-safe.
std::vector<std::uint8_t> digit_image(const Image& image, Invert invert);

/// The whole picture stretched to [channels, height, width] by area averaging, channels 1 (grey:
/// 0.299 R + 0.587 G + 0.114 B) or 3, transparent parts over white, or over black where all that is
/// opaque is light; with `invert` 255 minus that. The image must have at least one pixel.
/// Thread-safe.
std::vector<std::uint8_t> resized_image(const Image& image, std::int64_t channels,
                                        std::int64_t height, std::int64_t width, bool invert);

}  // namespace lockstep
