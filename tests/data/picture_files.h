// PNG and JPEG files of the kinds that programs write, made in memory.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "lockstep/data/image_file.h"

namespace lockstep::data_test {

struct PngKind {
  int bits = 8;    ///< of a sample
  int colour = 0;  ///< PNG's colour type: 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGBA
  bool interlaced = false;
  std::string palette{};       ///< content of PLTE; empty: none
  std::string transparency{};  ///< content of tRNS; empty: none
};

/// `sample(y, x, channel)` gives the stored values.
std::string png_file(std::int64_t height, std::int64_t width, const PngKind& kind,
                     const std::function<unsigned(std::int64_t, std::int64_t, int)>& sample);
/// Any image of 8 bits.
std::string png_file(const Image& image);
/// Length, type, content and checksum.
std::string png_chunk(std::string_view type, std::string_view content);

struct JpegKind {
  int quality = 95;
  bool progressive = false;
  /// Four channels are CMYK; with this, stored inverted and marked as Adobe does.
  bool adobe = false;
  std::string app1{};  ///< content of an APP1 segment; empty: none
};

/// One, three or four channels.
std::string jpeg_file(const Image& image, const JpegKind& kind = {});

/// An APP1 segment that says how a camera was held.
std::string exif_segment(int orientation, bool big_endian);

/// Bytes as decode_image takes them.
std::span<const std::byte> bytes_of(std::string_view text);

/// Pixels given by value(y, x, channel).
Image make_image(std::int64_t height, std::int64_t width, std::int64_t channels,
                 const std::function<int(std::int64_t, std::int64_t, std::int64_t)>& value);

}  // namespace lockstep::data_test
