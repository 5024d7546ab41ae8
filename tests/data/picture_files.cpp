#include "picture_files.h"

#include <zlib.h>

#include <cstdio>
// Needs what the one above declares.
#include <jpeglib.h>

#include <array>
#include <cstdlib>
#include <span>

#include "files.h"

namespace lockstep::data_test {

namespace {

// One pass: rows of a filter byte and packed samples.
std::string png_rows(std::int64_t height, std::int64_t width, int bits, int channels,
                     const std::function<unsigned(std::int64_t, std::int64_t, int)>& sample) {
  std::string rows;
  for (std::int64_t y = 0; y < height && width > 0; ++y) {
    rows += '\0';
    unsigned pending = 0;
    int have = 0;
    for (std::int64_t x = 0; x < width; ++x) {
      for (int c = 0; c < channels; ++c) {
        const unsigned value = sample(y, x, c);
        if (bits == 16) rows += static_cast<char>(value >> 8);
        if (bits >= 8) {
          rows += static_cast<char>(value);
          continue;
        }
        pending = pending << bits | value;
        have += bits;
        if (have == 8) {
          rows += static_cast<char>(pending);
          pending = 0;
          have = 0;
        }
      }
    }
    if (have > 0) rows += static_cast<char>(pending << (8 - have));
  }
  return rows;
}

std::string deflated(std::string_view text) {
  uLongf size = compressBound(text.size());
  std::string result(size, '\0');
  LOCKSTEP_CHECK(compress(reinterpret_cast<Bytef*>(result.data()), &size,
                          reinterpret_cast<const Bytef*>(text.data()), text.size()) == Z_OK,
                 "compress");
  result.resize(size);
  return result;
}

}  // namespace

std::string png_chunk(std::string_view type, std::string_view content) {
  const std::string checked = std::string(type).append(content);
  const uLong checksum =
      crc32(0, reinterpret_cast<const Bytef*>(checked.data()), static_cast<uInt>(checked.size()));
  return idx({static_cast<std::uint32_t>(content.size())}, checked) +
         idx({static_cast<std::uint32_t>(checksum)}, "");
}

std::string png_file(std::int64_t height, std::int64_t width, const PngKind& kind,
                     const std::function<unsigned(std::int64_t, std::int64_t, int)>& sample) {
  constexpr std::array<int, 7> kChannels{1, 0, 3, 1, 2, 0, 4};
  const int channels = kChannels.at(static_cast<std::size_t>(kind.colour));
  const auto word = [](std::int64_t value) { return static_cast<std::uint32_t>(value); };
  std::string header = idx({word(width), word(height)}, "");
  header += static_cast<char>(kind.bits);
  header += static_cast<char>(kind.colour);
  header.append(2, '\0');
  header += static_cast<char>(kind.interlaced ? 1 : 0);
  std::string rows;
  if (kind.interlaced) {
    // Adam7 (PNG specification, section 8.2): first row and column, and the distances.
    constexpr std::array<std::array<std::int64_t, 4>, 7> kPasses{{{0, 0, 8, 8},
                                                                  {0, 4, 8, 8},
                                                                  {4, 0, 8, 4},
                                                                  {0, 2, 4, 4},
                                                                  {2, 0, 4, 2},
                                                                  {0, 1, 2, 2},
                                                                  {1, 0, 2, 1}}};
    for (const auto& [top, left, down, across] : kPasses) {
      rows += png_rows((height - top + down - 1) / down, (width - left + across - 1) / across,
                       kind.bits, channels,
                       [&, t = top, l = left, d = down, a = across](auto y, auto x, int c) {
                         return sample(t + y * d, l + x * a, c);
                       });
    }
  } else {
    rows = png_rows(height, width, kind.bits, channels, sample);
  }
  std::string file = "\x89PNG\r\n\x1a\n" + png_chunk("IHDR", header);
  if (!kind.palette.empty()) file += png_chunk("PLTE", kind.palette);
  if (!kind.transparency.empty()) file += png_chunk("tRNS", kind.transparency);
  return file + png_chunk("IDAT", deflated(rows)) + png_chunk("IEND", "");
}

std::string png_file(const Image& image) {
  constexpr std::array<int, 5> kColours{0, 0, 4, 2, 6};
  return png_file(
      image.height, image.width, {.colour = kColours.at(static_cast<std::size_t>(image.channels))},
      [&](std::int64_t y, std::int64_t x, int c) -> unsigned {
        return image.pixels[static_cast<std::size_t>((y * image.width + x) * image.channels + c)];
      });
}

std::string jpeg_file(const Image& image, const JpegKind& kind) {
  jpeg_compress_struct jpeg{};
  jpeg_error_mgr errors{};
  jpeg.err = jpeg_std_error(&errors);
  jpeg_create_compress(&jpeg);
  unsigned char* bytes = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&jpeg, &bytes, &size);
  jpeg.image_width = static_cast<JDIMENSION>(image.width);
  jpeg.image_height = static_cast<JDIMENSION>(image.height);
  jpeg.input_components = static_cast<int>(image.channels);
  jpeg.in_color_space =
      image.channels == 1 ? JCS_GRAYSCALE : (image.channels == 3 ? JCS_RGB : JCS_CMYK);
  jpeg_set_defaults(&jpeg);
  jpeg_set_quality(&jpeg, kind.quality, TRUE);
  if (kind.progressive) jpeg_simple_progression(&jpeg);
  if (image.channels == 4) jpeg.write_Adobe_marker = kind.adobe ? TRUE : FALSE;
  jpeg_start_compress(&jpeg, TRUE);
  if (!kind.app1.empty()) {
    jpeg_write_marker(&jpeg, JPEG_APP0 + 1, reinterpret_cast<const JOCTET*>(kind.app1.data()),
                      static_cast<unsigned>(kind.app1.size()));
  }
  std::vector<std::uint8_t> pixels = image.pixels;
  if (kind.adobe) {
    for (std::uint8_t& v : pixels) v = static_cast<std::uint8_t>(255 - v);
  }
  while (jpeg.next_scanline < jpeg.image_height) {
    JSAMPROW row = pixels.data() + jpeg.next_scanline * image.width * image.channels;
    jpeg_write_scanlines(&jpeg, &row, 1);
  }
  jpeg_finish_compress(&jpeg);
  jpeg_destroy_compress(&jpeg);
  std::string file(reinterpret_cast<const char*>(bytes), size);
  std::free(bytes);
  return file;
}

std::string exif_segment(int orientation, bool big_endian) {
  const auto number = [&](unsigned value, int size) {
    std::string text;
    for (int i = 0; i < size; ++i) {
      text += static_cast<char>(value >> 8 * (big_endian ? size - 1 - i : i));
    }
    return text;
  };
  // Header, a directory of two entries (the width, then the orientation), no further directory.
  return std::string("Exif\0\0", 6) + (big_endian ? "MM" : "II") + number(42, 2) + number(8, 4) +
         number(2, 2) + number(0x100, 2) + number(4, 2) + number(1, 4) + number(99, 4) +
         number(0x112, 2) + number(3, 2) + number(1, 4) +
         number(static_cast<unsigned>(orientation), 2) + number(0, 2) + number(0, 4);
}

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

Image make_image(std::int64_t height, std::int64_t width, std::int64_t channels,
                 const std::function<int(std::int64_t, std::int64_t, std::int64_t)>& value) {
  Image image{.height = height, .width = width, .channels = channels, .pixels = {}};
  for (std::int64_t y = 0; y < height; ++y) {
    for (std::int64_t x = 0; x < width; ++x) {
      for (std::int64_t c = 0; c < channels; ++c) {
        image.pixels.push_back(static_cast<std::uint8_t>(value(y, x, c)));
      }
    }
  }
  return image;
}

}  // namespace lockstep::data_test
