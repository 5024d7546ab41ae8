#include "data/csv.h"

#include "../fuzz.h"

namespace lockstep::fuzz {

// A buffer for one line, and the cells of the first.
std::size_t most_memory(std::size_t size) { return (std::size_t{2} << 20) + 64 * size; }

bool accepts(Input input) {
  const MemoryFile file(text_of(input));
  const auto reads = [&](Labels labels) {
    return unless_refused({ExitCode::kBadData}, [&] {
      const Dataset dataset = data::read_csv(file.path(), labels);
      const auto count = static_cast<std::size_t>(dataset.count);
      LOCKSTEP_CHECK(count >= 1 && dataset.pixels.size() ==
                                       count * static_cast<std::size_t>(dataset.image_size()),
                     "{} pixels", dataset.pixels.size());
      LOCKSTEP_CHECK(
          dataset.labels.size() == count || (labels == Labels::kOptional && dataset.labels.empty()),
          "labels");
      for (const std::uint8_t label : dataset.labels) LOCKSTEP_CHECK(label < kClasses, "label");
    });
  };
  const bool labelled = reads(Labels::kRequired);
  return reads(Labels::kOptional) || labelled;
}

}  // namespace lockstep::fuzz
