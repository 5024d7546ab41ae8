// JPEG (ITU-T T.81), by libjpeg.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "lockstep/data/image_file.h"

namespace lockstep::data {

/// See decode_image.
Image decode_jpeg(std::span<const std::byte> bytes, const std::string& name);

}  // namespace lockstep::data
