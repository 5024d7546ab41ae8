#include "data/idx.h"

#include "../fuzz.h"

namespace lockstep::fuzz {

namespace {

bool reads(const std::filesystem::path& images,
           const std::optional<std::filesystem::path>& labels) {
  return unless_refused({ExitCode::kBadData}, [&] {
    const Dataset dataset = data::read_idx(images, labels);
    const auto count = static_cast<std::size_t>(dataset.count);
    LOCKSTEP_CHECK(
        count >= 1 && dataset.image_size() >= 1 &&
            dataset.pixels.size() == count * static_cast<std::size_t>(dataset.image_size()),
        "{} pixels", dataset.pixels.size());
    LOCKSTEP_CHECK(dataset.labels.size() == (labels ? count : 0), "labels");
    for (const std::uint8_t label : dataset.labels) LOCKSTEP_CHECK(label < kClasses, "label");
  });
}

}  // namespace

// Growing, a vector is there twice, the new one with twice the content. Inflated content may be
// 64 MiB + 200 times the file, but is there in memory only as far as it was really read.
std::size_t most_memory(std::size_t size) { return (std::size_t{1} << 20) + 4 * 1032 * size; }

// As images, and as the labels of three images of one pixel.
bool accepts(Input input) {
  using namespace std::string_view_literals;
  const MemoryFile file(text_of(input));
  const MemoryFile images("\0\0\x08\x03\0\0\0\x03\0\0\0\x01\0\0\0\x01xyz"sv);
  const bool labels = reads(images.path(), file.path());
  return reads(file.path(), std::nullopt) || labels;
}

}  // namespace lockstep::fuzz
