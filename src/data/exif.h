// The one thing of a photo's EXIF data that changes how it looks.
#pragma once

#include <cstddef>
#include <span>

#include "lockstep/data/image_file.h"

namespace lockstep::data {

/// The orientation (tag 0x0112 of the TIFF directory 0; EXIF 2.3, section 4.6.4), 1 to 8, in the
/// content of an APP1 segment; 1, upright, where there is none or the content is not EXIF.
int exif_orientation(std::span<const std::byte> segment);

/// The picture turned and mirrored so that it is upright; orientation 1 to 8.
Image upright(Image image, int orientation);

}  // namespace lockstep::data
