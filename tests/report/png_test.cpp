#include "report/png.h"

#include <gtest/gtest.h>
#include <png.h>

#include <random>

namespace lockstep::report {
namespace {

TEST(Png, ReadsBackToTheSamePixels) {
  std::mt19937_64 random(1);
  for (const std::int64_t channels : {1, 3}) {
    Dataset dataset{.count = 3,
                    .channels = channels,
                    .height = 7,
                    .width = 5,
                    .pixels = {},
                    .labels = {},
                    .source = ""};
    dataset.pixels.resize(static_cast<std::size_t>(dataset.count * dataset.image_size()));
    for (auto& pixel : dataset.pixels) pixel = static_cast<std::uint8_t>(random());
    for (std::int64_t index = 0; index < dataset.count; ++index) {
      const auto file = encode_png(dataset, index);
      png_image image{};
      image.version = PNG_IMAGE_VERSION;
      ASSERT_NE(::png_image_begin_read_from_memory(&image, file.data(), file.size()), 0);
      ASSERT_EQ(image.width, 5u);
      ASSERT_EQ(image.height, 7u);
      image.format = channels == 1 ? PNG_FORMAT_GRAY : PNG_FORMAT_RGB;
      std::vector<std::uint8_t> pixels(PNG_IMAGE_SIZE(image));
      ASSERT_NE(::png_image_finish_read(&image, nullptr, pixels.data(), 0, nullptr), 0);
      for (std::int64_t i = 0; i < dataset.image_size(); ++i) {
        const std::int64_t pixel = i / channels, channel = i % channels;
        const auto stored =
            static_cast<std::size_t>(index * dataset.image_size() + channel * 35 + pixel);
        ASSERT_EQ(pixels[static_cast<std::size_t>(i)], dataset.pixels[stored]);
      }
    }
  }
}

TEST(Base64, IsThatOfRfc4648) {
  const auto of = [](std::string_view text) { return base64(std::as_bytes(std::span(text))); };
  EXPECT_EQ(of(""), "");
  EXPECT_EQ(of("f"), "Zg==");
  EXPECT_EQ(of("fo"), "Zm8=");
  EXPECT_EQ(of("foobar"), "Zm9vYmFy");
}

}  // namespace
}  // namespace lockstep::report
