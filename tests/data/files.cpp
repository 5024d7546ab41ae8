#include "files.h"

#include <stdlib.h>
#include <zlib.h>

#include <fstream>
#include <system_error>
#include <vector>

#include "lockstep/base/random.h"

namespace lockstep::data_test {

TemporaryDirectory::TemporaryDirectory() {
  std::string name = (std::filesystem::temp_directory_path() / "lockstep-data-XXXXXX").string();
  LOCKSTEP_CHECK(::mkdtemp(name.data()) != nullptr, "no temporary directory {}", name);
  path_ = name;
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

void write(const std::filesystem::path& path, std::string_view content) {
  // Truncating a file that has content makes some file systems write it out: 3 ms each.
  std::filesystem::remove(path);
  std::ofstream file(path, std::ios::binary);
  file.write(content.data(), static_cast<std::streamsize>(content.size())).flush();
  LOCKSTEP_CHECK(file.good(), "{} cannot be written", path.string());
}

std::string gzip(std::string_view content) {
  z_stream stream{};
  constexpr int kGzipWindow = 15 + 16;
  LOCKSTEP_CHECK(deflateInit2(&stream, 6, Z_DEFLATED, kGzipWindow, 8, Z_DEFAULT_STRATEGY) == Z_OK,
                 "deflateInit2");
  std::string result(deflateBound(&stream, content.size()), '\0');
  std::string input(content);
  stream.next_in = reinterpret_cast<Bytef*>(input.data());
  stream.avail_in = static_cast<uInt>(input.size());
  stream.next_out = reinterpret_cast<Bytef*>(result.data());
  stream.avail_out = static_cast<uInt>(result.size());
  LOCKSTEP_CHECK(deflate(&stream, Z_FINISH) == Z_STREAM_END, "deflate");
  result.resize(stream.total_out);
  deflateEnd(&stream);
  return result;
}

std::string idx(std::initializer_list<std::uint32_t> words, std::string_view payload) {
  std::string bytes;
  for (const std::uint32_t word : words) {
    for (const int shift : {24, 16, 8, 0}) bytes += static_cast<char>(word >> shift & 0xff);
  }
  return bytes.append(payload);
}

std::string idx_images(const Dataset& d) {
  const auto word = [](std::int64_t value) { return static_cast<std::uint32_t>(value); };
  const std::string_view pixels(reinterpret_cast<const char*>(d.pixels.data()), d.pixels.size());
  if (d.channels == 1) {
    return idx({0x803, word(d.count), word(d.height), word(d.width)}, pixels);
  }
  return idx({0x804, word(d.count), word(d.channels), word(d.height), word(d.width)}, pixels);
}

std::string idx_labels(const Dataset& d) {
  return idx({0x801, static_cast<std::uint32_t>(d.labels.size())},
             std::string_view(reinterpret_cast<const char*>(d.labels.data()), d.labels.size()));
}

std::string csv(const Dataset& d, bool header, bool labels) {
  const auto size = static_cast<std::size_t>(d.image_size());
  std::string text;
  const auto end_line = [&] { text.back() = '\n'; };
  if (header) {
    if (labels) text += "label,";
    for (std::size_t i = 0; i < size; ++i) text += "pixel" + std::to_string(i) + ",";
    end_line();
  }
  for (std::size_t n = 0; n < static_cast<std::size_t>(d.count); ++n) {
    if (labels) text += std::to_string(d.labels[n]) + ",";
    for (std::size_t i = 0; i < size; ++i) text += std::to_string(d.pixels[n * size + i]) + ",";
    end_line();
  }
  return text;
}

Dataset make_dataset(std::int64_t count, std::int64_t channels, std::int64_t height,
                     std::int64_t width, std::uint64_t seed) {
  Dataset dataset{.count = count,
                  .channels = channels,
                  .height = height,
                  .width = width,
                  .pixels = {},
                  .labels = {},
                  .source = "made"};
  for (std::int64_t n = 0; n < count; ++n) {
    RandomKey key{.seed = seed, .sample = static_cast<std::uint64_t>(n)};
    dataset.labels.push_back(static_cast<std::uint8_t>(random_words(key, 0)[0] % kClasses));
    key.layer = 1;
    std::vector<std::uint32_t> words(static_cast<std::size_t>(dataset.image_size()));
    fill_random_words(key, words);
    for (const std::uint32_t word : words) {
      dataset.pixels.push_back(static_cast<std::uint8_t>(word & 1 ? word >> 24 : 0));
    }
  }
  return dataset;
}

bool same_data(const Dataset& a, const Dataset& b) {
  return a.count == b.count && a.channels == b.channels && a.height == b.height &&
         a.width == b.width && a.pixels == b.pixels && a.labels == b.labels;
}

}  // namespace lockstep::data_test
