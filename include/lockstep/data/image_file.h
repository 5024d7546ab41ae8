// Pictures from PNG and JPEG files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lockstep {

/// One picture, [height, width, channels], the last dimension fastest, each value 0 .. 255 (sRGB).
/// Channels: 1 grey, 2 grey and alpha, 3 red, green and blue, 4 these and alpha. Alpha 0 is
/// transparent, and colours are not multiplied by it.
struct Image {
  std::int64_t height = 0;
  std::int64_t width = 0;
  std::int64_t channels = 0;
  std::vector<std::uint8_t> pixels;

  bool has_alpha() const { return channels == 2 || channels == 4; }
};

/// A picture of more pixels is refused.
inline constexpr std::uint64_t kMostImagePixels = std::uint64_t{1} << 26;

/// Whether a file with these first bytes wants to be PNG or JPEG, whatever its name.
bool looks_like_image(std::string_view head);

/// The same of a file, which may be gzip. Throws Error{kInputMissing | kInputOutput | kBadData}.
bool is_image_file(const std::filesystem::path& path);

/// PNG of every kind (1 to 16 bits, palette, transparent colour, interlaced; 16 bits are rounded to
/// 8; of an animation the first picture) and Huffman-coded JPEG (sequential or progressive; grey,
/// YCbCr, RGB, CMYK, YCCK), upright as its EXIF orientation says. Colour profiles are ignored,
/// PNG's gAMA is not. Checksums, lengths and sizes are checked before memory is taken for pixels:
/// at most what the file's length can justify. Throws Error{kBadData} naming `name` for anything
/// damaged, cut or too large: what a decoder would only warn of and fill with grey is refused. What
/// follows a complete picture is ignored. Thread-safe.
Image decode_image(std::span<const std::byte> bytes, const std::string& name);

/// decode_image of a file's content, which may be gzip. Throws Error{kInputMissing | kBadData |
/// kInputOutput}.
Image read_image(const std::filesystem::path& path);

}  // namespace lockstep
