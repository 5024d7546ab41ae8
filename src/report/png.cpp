#include "report/png.h"

#include <openssl/evp.h>

#include "lockstep/base/cast.h"
#include "lockstep/base/error.h"
#include "lockstep/records/picture.h"

namespace lockstep::report {

std::vector<std::byte> encode_png(const Dataset& dataset, std::int64_t index) {
  LOCKSTEP_CHECK(index >= 0 && index < dataset.count, "image {} of {}", index, dataset.count);
  const auto size = checked_cast<std::size_t>(dataset.image_size());
  const auto planes =
      std::span(dataset.pixels).subspan(checked_cast<std::size_t>(index) * size, size);
  return lockstep::encode_png(
      picture_of_planes(planes, dataset.channels, dataset.height, dataset.width));
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
