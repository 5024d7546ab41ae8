#include "report/png.h"

#include <openssl/evp.h>
#include <png.h>

#include "lockstep/base/cast.h"
#include "lockstep/base/error.h"

namespace lockstep::report {

std::vector<std::byte> encode_png(const Dataset& dataset, std::int64_t index) {
  LOCKSTEP_CHECK(index >= 0 && index < dataset.count, "image {} of {}", index, dataset.count);
  LOCKSTEP_CHECK(dataset.channels == 1 || dataset.channels == 3, "an image of {} channels",
                 dataset.channels);
  const auto channels = checked_cast<std::size_t>(dataset.channels);
  const auto plane = checked_cast<std::size_t>(dataset.height * dataset.width);
  const std::uint8_t* stored =
      dataset.pixels.data() + checked_cast<std::size_t>(index) * channels * plane;
  // PNG wants a pixel's channels side by side.
  std::vector<std::uint8_t> pixels(channels * plane);
  for (std::size_t pixel = 0; pixel < plane; ++pixel) {
    for (std::size_t channel = 0; channel < channels; ++channel) {
      pixels[pixel * channels + channel] = stored[channel * plane + pixel];
    }
  }
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  image.width = checked_cast<png_uint_32>(dataset.width);
  image.height = checked_cast<png_uint_32>(dataset.height);
  image.format = dataset.channels == 1 ? PNG_FORMAT_GRAY : PNG_FORMAT_RGB;
  png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(image);
  std::vector<std::byte> file(size);
  const int done =
      ::png_image_write_to_memory(&image, file.data(), &size, 0, pixels.data(), 0, nullptr);
  LOCKSTEP_CHECK(done != 0, "libpng: {}", image.message);
  file.resize(size);
  return file;
}

std::string base64(std::span<const std::byte> bytes) {
  std::string text((bytes.size() + 2) / 3 * 4 + 1, '\0');  // and a NUL
  const int size = ::EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()),
                                     reinterpret_cast<const unsigned char*>(bytes.data()),
                                     checked_cast<int>(bytes.size()));
  text.resize(checked_cast<std::size_t>(size));
  return text;
}

}  // namespace lockstep::report
