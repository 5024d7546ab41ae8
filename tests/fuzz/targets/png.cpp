// PNG, as it is and with its chunks' checksums put right: what a fuzzer changes would never get
// beyond them.
#include <zlib.h>

#include <string>

#include "../fuzz.h"
#include "lockstep/data/digit_image.h"
#include "lockstep/data/image_file.h"

namespace lockstep::fuzz {

namespace {

bool reads(std::string_view bytes) {
  return unless_refused({ExitCode::kBadData}, [&] {
    const Image image = decode_image(std::as_bytes(std::span(bytes.data(), bytes.size())), "input");
    LOCKSTEP_CHECK(image.height >= 1 && image.width >= 1 && image.channels >= 1 &&
                       image.channels <= 4 &&
                       image.pixels.size() ==
                           static_cast<std::size_t>(image.height * image.width * image.channels),
                   "{} pixels", image.pixels.size());
    const std::size_t size = digit_image(image, Invert::kAuto).size();
    LOCKSTEP_CHECK(size == 28 * 28, "{}", size);
  });
}

std::string with_checksums(std::string bytes) {
  const auto byte = [&](std::size_t at) { return static_cast<unsigned char>(bytes[at]); };
  for (std::size_t at = 8; bytes.size() >= 12 && at <= bytes.size() - 12;) {
    const std::size_t length =
        std::size_t{byte(at)} << 24 | byte(at + 1) << 16 | byte(at + 2) << 8 | byte(at + 3);
    if (length > bytes.size() - 12 - at) break;
    const auto* checked = reinterpret_cast<const Bytef*>(bytes.data()) + at + 4;
    const uLong checksum = crc32_z(0, checked, length + 4);
    for (std::size_t i = 0; i < 4; ++i) {
      bytes[at + 8 + length + i] = static_cast<char>(checksum >> (24 - 8 * i));
    }
    at += 12 + length;
  }
  return bytes;
}

}  // namespace

// Deflate's greatest expansion, of one bit to four bytes, and a copy without alpha; and what libpng
// allows one ancillary chunk to become, besides its tables.
std::size_t most_memory(std::size_t size) {
  return (std::size_t{32} << 20) + 1032 * 8 * (4 + 4) * size;
}

bool accepts(Input input) {
  const std::string bytes(text_of(input));
  reads(with_checksums(bytes));
  return reads(bytes);
}

}  // namespace lockstep::fuzz
