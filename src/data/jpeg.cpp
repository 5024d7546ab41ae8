#include "data/jpeg.h"

#include <csetjmp>
#include <cstdio>
#include <cstring>

#include <jpeglib.h>
// Between them, since it needs what the one above declares.
#include <jerror.h>

#include <algorithm>

#include "data/exif.h"
#include "lockstep/base/cast.h"
#include "lockstep/base/error.h"

namespace lockstep::data {

namespace {

// A Huffman code has a bit at least, and each component has a block of 8x8 coefficients to at most
// 4x4 times as many pixels.
constexpr std::uint64_t kMostPixelsPerByte = std::uint64_t{8} * 64 * 16;
// Cameras and programs write 3 to 12; a file can hold as many as it likes, each as slow as the
// picture is large.
constexpr int kMostScans = 100;
constexpr unsigned int kMostExif = 0xffff;

/// The decoder and what its callbacks need. It is reset by the C library's rules, so it holds
/// nothing that has a destructor, and no function between setjmp and longjmp does.
struct Decoder {
  jpeg_decompress_struct jpeg;
  jpeg_error_mgr errors;
  jpeg_progress_mgr progress;
  std::jmp_buf jump;
  char message[JMSG_LENGTH_MAX];
};

Decoder& decoder_of(j_common_ptr jpeg) { return *static_cast<Decoder*>(jpeg->client_data); }

[[noreturn]] void on_error(j_common_ptr jpeg) {
  Decoder& decoder = decoder_of(jpeg);
  jpeg->err->format_message(jpeg, decoder.message);
  std::longjmp(decoder.jump, 1);
}

// A warning means that the decoder has made something up, but for these.
void on_message(j_common_ptr jpeg, int level) {
  if (level >= 0) return;
  const int code = jpeg->err->msg_code;
  if (code != JWRN_ADOBE_XFORM && code != JWRN_JFIF_MAJOR && code != JWRN_EXTRANEOUS_DATA) {
    on_error(jpeg);
  }
}

void on_progress(j_common_ptr jpeg) {
  Decoder& decoder = decoder_of(jpeg);
  if (decoder.jpeg.input_scan_number <= kMostScans) return;
  std::snprintf(decoder.message, sizeof(decoder.message), "more than %d scans", kMostScans);
  std::longjmp(decoder.jump, 1);
}

bool begin(Decoder& decoder, const unsigned char* bytes, unsigned long size) {
  if (setjmp(decoder.jump) != 0) return false;
  decoder.jpeg.err = jpeg_std_error(&decoder.errors);
  decoder.errors.error_exit = on_error;
  decoder.errors.emit_message = on_message;
  jpeg_create_decompress(&decoder.jpeg);
  decoder.jpeg.progress = &decoder.progress;
  decoder.progress.progress_monitor = on_progress;
  jpeg_mem_src(&decoder.jpeg, bytes, size);
  jpeg_save_markers(&decoder.jpeg, JPEG_APP0 + 1, kMostExif);
  jpeg_read_header(&decoder.jpeg, TRUE);
  return true;
}

bool start(Decoder& decoder) {
  if (setjmp(decoder.jump) != 0) return false;
  jpeg_start_decompress(&decoder.jpeg);
  return true;
}

// `pixels` has room for all rows.
bool read_rows(Decoder& decoder, unsigned char* pixels) {
  if (setjmp(decoder.jump) != 0) return false;
  jpeg_decompress_struct& jpeg = decoder.jpeg;
  const std::size_t row_size = static_cast<std::size_t>(jpeg.output_width) *
                               static_cast<std::size_t>(jpeg.output_components);
  while (jpeg.output_scanline < jpeg.output_height) {
    JSAMPROW row = pixels + jpeg.output_scanline * row_size;
    jpeg_read_scanlines(&jpeg, &row, 1);
  }
  jpeg_finish_decompress(&jpeg);
  return true;
}

J_COLOR_SPACE output_space(J_COLOR_SPACE stored) {
  switch (stored) {
    case JCS_GRAYSCALE:
      return JCS_GRAYSCALE;
    case JCS_YCbCr:
    case JCS_RGB:
      return JCS_RGB;
    case JCS_CMYK:
    case JCS_YCCK:
      return JCS_CMYK;
    default:
      return JCS_UNKNOWN;
  }
}

int orientation_of(const jpeg_decompress_struct& jpeg) {
  for (const jpeg_marker_struct* marker = jpeg.marker_list; marker != nullptr;
       marker = marker->next) {
    const int found = exif_orientation(std::as_bytes(std::span(marker->data, marker->data_length)));
    if (found != 1) return found;
  }
  return 1;
}

// Adobe's programs, the only ones that write CMYK, store it inverted.
void cmyk_to_rgb(Image& image, bool inverted) {
  const std::uint8_t flip = inverted ? 0 : 255;
  std::uint8_t* out = image.pixels.data();
  for (std::size_t i = 0; i < image.pixels.size(); i += 4) {
    const unsigned black = image.pixels[i + 3] ^ flip;
    for (std::size_t c = 0; c < 3; ++c) {
      *out++ = static_cast<std::uint8_t>(((image.pixels[i + c] ^ flip) * black + 127) / 255);
    }
  }
  image.channels = 3;
  image.pixels.resize(image.pixels.size() / 4 * 3);
}

/// Ends the decoder whatever happens.
class OwnedDecoder {
 public:
  OwnedDecoder() : decoder_() { decoder_.jpeg.client_data = &decoder_; }
  ~OwnedDecoder() { jpeg_destroy_decompress(&decoder_.jpeg); }
  OwnedDecoder(const OwnedDecoder&) = delete;
  OwnedDecoder& operator=(const OwnedDecoder&) = delete;
  Decoder& operator*() { return decoder_; }

 private:
  Decoder decoder_;
};

}  // namespace

Image decode_jpeg(std::span<const std::byte> bytes, const std::string& name) {
  OwnedDecoder owned;
  Decoder& decoder = *owned;
  jpeg_decompress_struct& jpeg = decoder.jpeg;
  const auto require = [&](bool done) {
    if (!done) fail(ExitCode::kBadData, "{}: damaged JPEG data: {}", name, decoder.message);
  };
  require(begin(decoder, reinterpret_cast<const unsigned char*>(bytes.data()),
                checked_cast<unsigned long>(bytes.size())));
  const std::uint64_t pixels = std::uint64_t{jpeg.image_width} * jpeg.image_height;
  if (pixels > kMostImagePixels) {
    fail(ExitCode::kBadData, "{}: {} x {} pixels, expected at most {} in all", name,
         jpeg.image_width, jpeg.image_height, kMostImagePixels);
  }
  if (jpeg.arith_code) {
    fail(ExitCode::kBadData, "{}: arithmetic-coded JPEG, expected Huffman-coded", name);
  }
  if (pixels > kMostPixelsPerByte * bytes.size()) {
    fail(ExitCode::kBadData, "{}: {} x {} pixels are promised, but {} bytes cannot hold them", name,
         jpeg.image_width, jpeg.image_height, bytes.size());
  }
  jpeg.out_color_space = output_space(jpeg.jpeg_color_space);
  if (jpeg.out_color_space == JCS_UNKNOWN) {
    fail(ExitCode::kBadData, "{}: JPEG of {} components of an unknown kind", name,
         jpeg.num_components);
  }
  const int orientation = orientation_of(jpeg);  // the markers go with the decoder's end
  require(start(decoder));
  Image image{.height = jpeg.output_height,
              .width = jpeg.output_width,
              .channels = jpeg.output_components,
              .pixels = {}};
  image.pixels.resize(static_cast<std::size_t>(image.height * image.width * image.channels));
  require(read_rows(decoder, image.pixels.data()));
  if (image.channels == 4) cmyk_to_rgb(image, jpeg.saw_Adobe_marker != FALSE);
  return upright(std::move(image), orientation);
}

}  // namespace lockstep::data
