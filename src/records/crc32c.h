// CRC-32C (Castagnoli; RFC 3720, appendix B.4): reflected, polynomial 0x1EDC6F41.
#pragma once

#include <cstdint>
#include <string_view>

namespace lockstep::internal {

std::uint32_t crc32c(std::string_view bytes);

/// As TFRecord stores it: a CRC of data that itself holds CRCs would otherwise be degenerate.
constexpr std::uint32_t masked(std::uint32_t crc) {
  return ((crc >> 15) | (crc << 17)) + 0xA282EAD8U;
}

}  // namespace lockstep::internal
