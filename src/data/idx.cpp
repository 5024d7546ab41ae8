#include "data/idx.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "data/byte_source.h"
#include "lockstep/base/error.h"

namespace lockstep::data {

namespace {

constexpr std::uint32_t kLabelMagic = 0x00000801;
constexpr std::uint32_t kGrayMagic = 0x00000803;
constexpr std::uint32_t kPlanarMagic = 0x00000804;
// Far above any image, and far enough below 2^31 for all offsets in an image to fit an int.
constexpr std::uint64_t kMostImageSize = std::uint64_t{1} << 28;

std::uint32_t read_word(ByteSource& source, std::uint64_t offset, std::string_view meaning) {
  std::array<std::byte, 4> bytes{};
  const std::size_t got = source.read(bytes);
  if (got < bytes.size()) {
    fail(ExitCode::kBadData, "{}: ends after {} bytes, expected {} in bytes {} to {}",
         source.name(), offset + got, meaning, offset, offset + 3);
  }
  std::uint32_t word = 0;
  for (const std::byte b : bytes) word = word << 8 | std::to_integer<std::uint32_t>(b);
  return word;
}

// Memory grows with what was really read: a compressed file can promise much more than it holds.
std::vector<std::uint8_t> read_elements(ByteSource& source, std::uint64_t header,
                                        std::uint64_t expected) {
  const std::uint64_t limit = source.content_limit();
  if (expected > limit - std::min(limit, header)) {
    fail(ExitCode::kBadData,
         "{}: its header promises {} bytes after the first {}, but the file has {} {}",
         source.name(), expected, header, source.compressed() ? "at most" : "only",
         limit - std::min(limit, header));
  }
  // Typical images shrink to a fifth of their size.
  const std::uint64_t first_step = source.compressed() ? 8 * source.file_size() : expected;
  std::vector<std::uint8_t> elements;
  while (elements.size() < expected) {
    const std::size_t have = elements.size();
    elements.resize(std::min(expected, std::max<std::uint64_t>(first_step, 2 * have)));
    const std::size_t got = source.read(std::as_writable_bytes(std::span(elements)).subspan(have));
    if (have + got < elements.size()) {
      fail(ExitCode::kBadData,
           "{}: ends after {} bytes, expected {}: its header promises {} after the first {}",
           source.name(), header + have + got, header + expected, expected, header);
    }
  }
  std::array<std::byte, 1> beyond{};
  if (source.read(beyond) != 0) {
    fail(ExitCode::kBadData, "{}: goes on after byte {}, where its header says that it ends",
         source.name(), header + expected);
  }
  return elements;
}

struct ImageHeader {
  std::uint32_t count, channels, height, width;
  std::uint64_t size;  // bytes of the header itself
};

ImageHeader read_image_header(ByteSource& source) {
  const std::uint32_t magic = read_word(source, 0, "the magic number of IDX images");
  if (magic != kGrayMagic && magic != kPlanarMagic) {
    fail(ExitCode::kBadData,
         "{}: starts with {:08x}{}, expected {:08x} (images [N,H,W] of unsigned bytes) or {:08x} "
         "([N,C,H,W])",
         source.name(), magic, magic == kLabelMagic ? ", which means labels" : "", kGrayMagic,
         kPlanarMagic);
  }
  ImageHeader header{};
  header.size = 4;
  const auto next = [&](const char* meaning) {
    const std::uint32_t word = read_word(source, header.size, meaning);
    if (word == 0) {
      fail(ExitCode::kBadData, "{}: {} in bytes {} to {} is 0, expected at least 1", source.name(),
           meaning, header.size, header.size + 3);
    }
    header.size += 4;
    return word;
  };
  header.count = next("the number of images");
  header.channels = magic == kPlanarMagic ? next("the number of channels") : 1;
  header.height = next("the height");
  header.width = next("the width");
  const std::uint64_t plane = std::uint64_t{header.height} * header.width;
  if (plane > kMostImageSize || plane * header.channels > kMostImageSize) {
    fail(ExitCode::kBadData, "{}: an image of {}x{}x{} is larger than the {} bytes allowed",
         source.name(), header.channels, header.height, header.width, kMostImageSize);
  }
  return header;
}

std::uint32_t read_label_header(ByteSource& source) {
  const std::uint32_t magic = read_word(source, 0, "the magic number of IDX labels");
  if (magic != kLabelMagic) {
    fail(ExitCode::kBadData, "{}: starts with {:08x}{}, expected {:08x} (labels, unsigned bytes)",
         source.name(), magic,
         magic == kGrayMagic || magic == kPlanarMagic ? ", which means images" : "", kLabelMagic);
  }
  return read_word(source, 4, "the number of labels");
}

void leave_out_wrong_labels(Dataset& dataset) {
  const auto size = static_cast<std::size_t>(dataset.image_size());
  std::size_t kept = 0;
  for (std::size_t i = 0; i < dataset.labels.size(); ++i) {
    if (dataset.labels[i] >= kClasses) continue;
    dataset.labels[kept] = dataset.labels[i];
    if (kept < i) {
      std::copy_n(dataset.pixels.begin() + static_cast<std::ptrdiff_t>(i * size), size,
                  dataset.pixels.begin() + static_cast<std::ptrdiff_t>(kept * size));
    }
    ++kept;
  }
  if (!dataset.labelled() || kept == dataset.labels.size()) return;
  if (kept == 0) fail(ExitCode::kBadData, "{}: no label is from 0 to 9", dataset.source);
  dataset.labels.resize(kept);
  dataset.pixels.resize(kept * size);
  dataset.count = static_cast<std::int64_t>(kept);
}

}  // namespace

bool looks_like_idx(std::string_view head) {
  return head.size() >= 4 && head[0] == 0 && head[1] == 0 && head[2] >= 0x08 && head[2] <= 0x0e &&
         head[3] >= 1;
}

Dataset read_idx(const std::filesystem::path& images,
                 const std::optional<std::filesystem::path>& labels,
                 const std::function<void()>& progress,
                 const std::function<void(const std::string&)>& damaged) {
  ByteSource image_source(images, progress);
  const ImageHeader header = read_image_header(image_source);
  Dataset dataset{.count = header.count,
                  .channels = header.channels,
                  .height = header.height,
                  .width = header.width,
                  .pixels = {},
                  .labels = {},
                  .source = images.string()};
  if (labels) {
    ByteSource label_source(*labels, progress);
    const std::uint32_t count = read_label_header(label_source);
    if (count != header.count) {
      fail(ExitCode::kBadData, "{} has {} labels, but {} has {} images", labels->string(), count,
           images.string(), header.count);
    }
    constexpr std::uint64_t kHeaderSize = 8;
    dataset.labels = read_elements(label_source, kHeaderSize, count);
    for (std::size_t sample = 0; sample < dataset.labels.size(); ++sample) {
      const std::uint8_t label = dataset.labels[sample];
      if (label < kClasses) continue;
      const std::string problem =
          fmt::format("{}: label {} at byte {} (sample {}), expected 0 to {}", labels->string(),
                      label, kHeaderSize + sample, sample, kClasses - 1);
      if (!damaged) throw Error(ExitCode::kBadData, problem);
      damaged(problem);
    }
    dataset.source += " and " + labels->string();
  }
  dataset.pixels = read_elements(image_source, header.size,
                                 header.count * static_cast<std::uint64_t>(dataset.image_size()));
  if (damaged) leave_out_wrong_labels(dataset);
  return dataset;
}

}  // namespace lockstep::data
