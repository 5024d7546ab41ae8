#include "../fuzz.h"
#include "lockstep/data/digit_image.h"
#include "lockstep/data/image_file.h"

namespace lockstep::fuzz {

// 8192 pixels a byte, each of four bytes, three times: while it is turned upright and made grey;
// and as many 16-bit coefficients.
std::size_t most_memory(std::size_t size) {
  return (std::size_t{4} << 20) + 8192 * (3 * 4 + 2 * 4) * size;
}

bool accepts(Input input) {
  return unless_refused({ExitCode::kBadData}, [&] {
    const Image image = decode_image(std::as_bytes(input), "input");
    LOCKSTEP_CHECK(image.height >= 1 && image.width >= 1 &&
                       (image.channels == 1 || image.channels == 3) &&
                       image.pixels.size() ==
                           static_cast<std::size_t>(image.height * image.width * image.channels),
                   "{} pixels", image.pixels.size());
    const std::size_t size = digit_image(image, Invert::kAuto).size();
    LOCKSTEP_CHECK(size == 28 * 28, "{}", size);
  });
}

}  // namespace lockstep::fuzz
