// What a picture shows: without alpha, and as one channel.
#pragma once

#include <cstdint>
#include <vector>

#include "lockstep/data/image_file.h"

namespace lockstep::data {

/// One or three channels. Transparent parts take a colour that keeps the opaque ones visible: where
/// these hold a picture of their own with light and dark parts, that of its larger part; where they
/// are of one brightness, such as a stroke alone, white under dark and black under light.
Image without_alpha(Image image);

/// Grey values [height, width] by the given brightness 0.299 R + 0.587 G + 0.114 B. The image has
/// no alpha.
std::vector<std::uint8_t> brightness(const Image& image);

/// Grey values [height, width]: colours projected on the axis of their greatest variance (the first
/// principal component), larger where lighter. Greys stay as they are. The image has no alpha.
std::vector<std::uint8_t> strongest_contrast(const Image& image);

}  // namespace lockstep::data
