#include "data/png.h"

#include <png.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <string_view>
#include <vector>

#include "lockstep/base/error.h"

namespace lockstep::data {

namespace {

using namespace std::string_view_literals;

constexpr std::string_view kSignature = "\x89PNG\r\n\x1a\n"sv;
constexpr std::size_t kAroundData = 12;  // length, type and checksum of a chunk
constexpr std::size_t kHeaderSize = 13;
// What deflate can expand a byte to, at most (zlib's "Technical Details").
constexpr std::uint64_t kMostExpansion = 1032;

std::uint32_t word_at(std::span<const std::byte> bytes, std::size_t offset) {
  std::uint32_t word = 0;
  for (std::size_t i = 0; i < 4; ++i) {
    word = word << 8 | std::to_integer<std::uint32_t>(bytes[offset + i]);
  }
  return word;
}

bool is_letter(char c) { return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z'); }

struct Header {
  std::uint64_t width = 0;
  std::uint64_t height = 0;
  std::uint64_t bits = 0;  // of a pixel
};

Header read_header(std::span<const std::byte> chunk) {
  constexpr std::array<std::uint64_t, 7> kSamples{1, 0, 3, 1, 2, 0, 4};  // by colour type
  const auto type = std::to_integer<std::size_t>(chunk[9]);
  return {.width = word_at(chunk, 0),
          .height = word_at(chunk, 4),
          .bits = std::to_integer<std::uint64_t>(chunk[8]) *
                  kSamples[std::min(type, kSamples.size() - 1)]};
}

// libpng drops ancillary chunks whose checksum is wrong, does not read up to the end, and believes
// any size: all of that is looked at before it is called.
void check_chunks(std::span<const std::byte> bytes, const std::string& name) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (!text.starts_with(kSignature)) {
    fail(
        ExitCode::kBadData,
        "{}: starts like a PNG file, but bytes 4 to 7 are not CR LF 1a LF (was it copied as text?)",
        name);
  }
  Header header;
  std::uint64_t compressed = 0;
  for (std::size_t at = kSignature.size();;) {
    const std::size_t left = bytes.size() - at;
    if (left < kAroundData) {
      fail(ExitCode::kBadData, "{}: ends after {} bytes without PNG's last chunk, IEND", name,
           bytes.size());
    }
    const std::uint32_t length = word_at(bytes, at);
    const std::string_view type = text.substr(at + 4, 4);
    if (!std::all_of(type.begin(), type.end(), is_letter)) {
      fail(ExitCode::kBadData, "{}: no PNG chunk begins at byte {}", name, at);
    }
    if (length > left - kAroundData) {
      fail(ExitCode::kBadData,
           "{}: ends in the PNG chunk {} at byte {}: {} bytes follow, expected {}", name, type, at,
           left, length + std::uint64_t{kAroundData});
    }
    const auto* checked = reinterpret_cast<const Bytef*>(bytes.data()) + at + 4;
    if (crc32_z(0, checked, length + 4) != word_at(bytes, at + 8 + length)) {
      fail(ExitCode::kBadData, "{}: the checksum of the PNG chunk {} at byte {} is wrong", name,
           type, at);
    }
    if (at == kSignature.size()) {
      if (type != "IHDR" || length != kHeaderSize) {
        fail(ExitCode::kBadData, "{}: the first PNG chunk is {} of {} bytes, expected IHDR of {}",
             name, type, length, kHeaderSize);
      }
      header = read_header(bytes.subspan(at + 8, length));
    }
    if (type == "IDAT") compressed += length;
    if (type == "IEND") break;
    at += kAroundData + length;
  }
  if (header.width == 0 || header.height == 0 || header.height > kMostImagePixels / header.width) {
    fail(ExitCode::kBadData, "{}: {} x {} pixels, expected 1 to {} in all", name, header.width,
         header.height, kMostImagePixels);
  }
  const std::uint64_t promised = (header.width * header.bits + 7) / 8 * header.height;
  if (promised > kMostExpansion * compressed) {
    fail(ExitCode::kBadData,
         "{}: {} x {} pixels are promised, but {} compressed bytes cannot hold "
         "them",
         name, header.width, header.height, compressed);
  }
}

/// libpng's objects and what its callbacks need. No function between setjmp and longjmp has
/// anything with a destructor.
struct Decoder {
  std::span<const std::byte> left;
  std::jmp_buf jump;
  char message[128];
  png_structp png;
  png_infop info;
};

[[noreturn]] void on_error(png_structp png, png_const_charp message) {
  auto& decoder = *static_cast<Decoder*>(png_get_error_ptr(png));
  std::snprintf(decoder.message, sizeof(decoder.message), "%s", message);
  std::longjmp(decoder.jump, 1);
}

// They tell of ancillary chunks that break rules, mostly colour profiles.
void on_warning(png_structp, png_const_charp) {}

void on_read(png_structp png, png_bytep out, std::size_t size) {
  auto& decoder = *static_cast<Decoder*>(png_get_io_ptr(png));
  if (size > decoder.left.size()) png_error(png, "the data ends too early");
  std::memcpy(out, decoder.left.data(), size);
  decoder.left = decoder.left.subspan(size);
}

// Up to the first row, with transformations to 8-bit samples without palette.
bool begin(Decoder& decoder) {
  if (setjmp(decoder.jump) != 0) return false;
  decoder.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &decoder, on_error, on_warning);
  if (decoder.png == nullptr) return false;
  decoder.info = png_create_info_struct(decoder.png);
  if (decoder.info == nullptr) return false;
  png_set_read_fn(decoder.png, &decoder, on_read);
  png_read_info(decoder.png, decoder.info);
  png_set_expand(decoder.png);
  png_set_scale_16(decoder.png);
  png_set_alpha_mode_fixed(decoder.png, PNG_ALPHA_PNG, PNG_DEFAULT_sRGB);
  png_set_interlace_handling(decoder.png);
  png_read_update_info(decoder.png, decoder.info);
  return true;
}

bool read_rows(Decoder& decoder, png_bytepp rows) {
  if (setjmp(decoder.jump) != 0) return false;
  png_read_image(decoder.png, rows);
  png_read_end(decoder.png, nullptr);
  return true;
}

/// Ends the decoder whatever happens.
class OwnedDecoder {
 public:
  explicit OwnedDecoder(std::span<const std::byte> bytes) : decoder_() { decoder_.left = bytes; }
  ~OwnedDecoder() { png_destroy_read_struct(&decoder_.png, &decoder_.info, nullptr); }
  OwnedDecoder(const OwnedDecoder&) = delete;
  OwnedDecoder& operator=(const OwnedDecoder&) = delete;
  Decoder& operator*() { return decoder_; }

 private:
  Decoder decoder_;
};

}  // namespace

// By libpng's first interface, though errors jump there: the simplified one of Debian 12's
// 1.6.39-2+deb12u6 mixes up the rows of interlaced pictures of 16 bits.
Image decode_png(std::span<const std::byte> bytes, const std::string& name) {
  check_chunks(bytes, name);
  OwnedDecoder owned(bytes);
  Decoder& decoder = *owned;
  const auto require = [&](bool done) {
    if (!done) fail(ExitCode::kBadData, "{}: damaged PNG data: {}", name, decoder.message);
  };
  require(begin(decoder));
  Image image{.height = png_get_image_height(decoder.png, decoder.info),
              .width = png_get_image_width(decoder.png, decoder.info),
              .channels = png_get_channels(decoder.png, decoder.info),
              .pixels = {}};
  const auto row_size = static_cast<std::size_t>(image.width * image.channels);
  LOCKSTEP_CHECK(png_get_rowbytes(decoder.png, decoder.info) == row_size, "rows of {} bytes",
                 png_get_rowbytes(decoder.png, decoder.info));
  image.pixels.resize(row_size * static_cast<std::size_t>(image.height));
  std::vector<png_bytep> rows;
  rows.reserve(static_cast<std::size_t>(image.height));
  for (std::int64_t y = 0; y < image.height; ++y) {
    rows.push_back(image.pixels.data() + static_cast<std::size_t>(y) * row_size);
  }
  require(read_rows(decoder, rows.data()));
  return image;
}

}  // namespace lockstep::data
