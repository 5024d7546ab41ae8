#include "lockstep/data/dataset.h"

#include "lockstep/base/error.h"
#include "lockstep/base/hash.h"

namespace lockstep {

std::string Dataset::sha256() const {
  Sha256 hash;
  hash.update(fmt::format("lockstep dataset {} {} {} {} {}\n", count, channels, height, width,
                          labels.size()));
  hash.update(std::as_bytes(std::span(pixels))).update(std::as_bytes(std::span(labels)));
  return to_hex(hash.finish());
}

std::array<std::int64_t, kClasses> class_counts(const Dataset& dataset,
                                                std::span<const std::uint32_t> indices) {
  LOCKSTEP_CHECK(dataset.labelled(), "{} has no labels to count", dataset.source);
  std::array<std::int64_t, kClasses> counts{};
  for (const std::uint32_t index : indices) ++counts.at(dataset.labels.at(index));
  return counts;
}

void require_same_shape(const Dataset& dataset, const Dataset& reference) {
  if (dataset.channels == reference.channels && dataset.height == reference.height &&
      dataset.width == reference.width) {
    return;
  }
  fail(ExitCode::kBadData, "{}: images of {}x{}x{}, expected {}x{}x{} as in {}", dataset.source,
       dataset.channels, dataset.height, dataset.width, reference.channels, reference.height,
       reference.width, reference.source);
}

}  // namespace lockstep
