#include "lockstep/data/split.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "lockstep/base/cast.h"
#include "lockstep/base/error.h"
#include "lockstep/base/random.h"

namespace lockstep {

namespace {

// How many validation samples each class gives: floors of the exact shares, then one more to the
// classes with the largest remainders until there are `validation` in all. Entries sum to
// `validation`.
std::array<std::int64_t, kClasses> class_quotas(const Dataset& dataset, double fraction,
                                                std::int64_t validation) {
  std::array<std::int64_t, kClasses> sizes{};
  for (const std::uint8_t label : dataset.labels) ++sizes.at(label);
  std::array<std::int64_t, kClasses> quotas{};
  std::array<double, kClasses> remainders{};
  for (std::size_t k = 0; k < kClasses; ++k) {
    const double exact = fraction * static_cast<double>(sizes[k]);
    quotas[k] = static_cast<std::int64_t>(exact);
    remainders[k] = exact - std::floor(exact);
  }
  std::array<std::size_t, kClasses> by_remainder{};
  std::iota(by_remainder.begin(), by_remainder.end(), std::size_t{0});
  std::stable_sort(by_remainder.begin(), by_remainder.end(),
                   [&](std::size_t x, std::size_t y) { return remainders[x] > remainders[y]; });
  const std::int64_t given = std::accumulate(quotas.begin(), quotas.end(), std::int64_t{0});
  const std::int64_t missing = validation - given;
  LOCKSTEP_CHECK(0 <= missing && missing <= kClasses, "{} samples to hand out", missing);
  for (std::int64_t i = 0; i < missing; ++i) ++quotas[by_remainder[static_cast<std::size_t>(i)]];
  return quotas;
}

}  // namespace

Split split_dataset(const Dataset& dataset, const DataOptions& options) {
  const double fraction = options.validation_fraction;
  if (!(fraction >= 0.0 && fraction < 1.0)) {
    fail(ExitCode::kUsage, "a validation fraction of {}: expected at least 0 and below 1",
         fraction);
  }
  const std::int64_t validation = std::llround(fraction * static_cast<double>(dataset.count));
  if (dataset.count < 1 || (fraction > 0.0 && (validation == 0 || validation == dataset.count))) {
    fail(ExitCode::kBadData,
         "{}: {} samples cannot be split with a validation fraction of {}: {} would be left for "
         "training and {} for validation",
         dataset.source, dataset.count, fraction, dataset.count - validation, validation);
  }
  if (options.stratify && !dataset.labelled()) {
    fail(ExitCode::kBadData, "{}: a stratified split needs labels, and there are none",
         dataset.source);
  }

  std::array<std::int64_t, kClasses> quotas{};
  if (options.stratify) quotas = class_quotas(dataset, fraction, validation);
  const RandomPermutation permutation(static_cast<std::uint64_t>(dataset.count), options.split_seed,
                                      Purpose::kSplit, 0);
  std::vector<bool> held_out(static_cast<std::size_t>(dataset.count));
  std::int64_t missing = validation;
  for (std::uint64_t position = 0; missing > 0; ++position) {
    const std::uint64_t sample = permutation(position);
    if (options.stratify) {
      std::int64_t& quota = quotas[dataset.labels[sample]];
      if (quota == 0) continue;
      --quota;
    }
    held_out[sample] = true;
    --missing;
  }

  Split split;
  split.validation.reserve(static_cast<std::size_t>(validation));
  split.training.reserve(static_cast<std::size_t>(dataset.count - validation));
  for (std::size_t sample = 0; sample < held_out.size(); ++sample) {
    auto& part = held_out[sample] ? split.validation : split.training;
    part.push_back(checked_cast<std::uint32_t>(sample));
  }
  return split;
}

}  // namespace lockstep
