// Small images inside a page.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "lockstep/data/dataset.h"

namespace lockstep::report {

/// Image `index` of the data set, which has one channel or three, as a PNG file (8 bit grey or
/// RGB). Throws Error{kInternal} when libpng fails or there is no such image.
std::vector<std::byte> encode_png(const Dataset& dataset, std::int64_t index);

/// RFC 4648, with padding.
std::string base64(std::span<const std::byte> bytes);

}  // namespace lockstep::report
