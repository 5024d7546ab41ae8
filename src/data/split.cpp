#include "lockstep/data/split.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <span>
#include <string>

#include "lockstep/base/cast.h"
#include "lockstep/base/error.h"
#include "lockstep/base/hash.h"
#include "lockstep/base/random.h"

namespace lockstep {

namespace {

// How many validation samples each class gives: floors of the exact shares, then one more to the
// classes with the largest remainders until there are `validation` in all. Entries sum to
// `validation`.
std::array<std::int64_t, kClasses> class_quotas(std::span<const std::uint8_t> labels,
                                                double fraction, std::int64_t validation) {
  std::array<std::int64_t, kClasses> sizes{};
  for (const std::uint8_t label : labels) ++sizes.at(label);
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

// `labels` may be empty.
Split split(std::int64_t count, std::span<const std::uint8_t> labels, const DataOptions& options,
            const std::string& source) {
  const double fraction = options.validation_fraction;
  if (!(fraction >= 0.0 && fraction < 1.0)) {
    fail(ExitCode::kUsage, "a validation fraction of {}: expected at least 0 and below 1",
         fraction);
  }
  const std::int64_t validation = std::llround(fraction * static_cast<double>(count));
  if (count < 1 || (fraction > 0.0 && (validation == 0 || validation == count))) {
    fail(ExitCode::kBadData,
         "{}: {} samples cannot be split with a validation fraction of {}: {} would be left for "
         "training and {} for validation",
         source, count, fraction, count - validation, validation);
  }
  if (options.stratify && labels.empty()) {
    fail(ExitCode::kUsage, "{}: a stratified split needs labels, and there are none", source);
  }

  std::array<std::int64_t, kClasses> quotas{};
  if (options.stratify) quotas = class_quotas(labels, fraction, validation);
  const RandomPermutation permutation(static_cast<std::uint64_t>(count), options.split_seed,
                                      Purpose::kSplit, 0);
  std::vector<bool> held_out(static_cast<std::size_t>(count));
  std::int64_t missing = validation;
  for (std::uint64_t position = 0; missing > 0; ++position) {
    const std::uint64_t sample = permutation(position);
    if (options.stratify) {
      std::int64_t& quota = quotas[labels[sample]];
      if (quota == 0) continue;
      --quota;
    }
    held_out[sample] = true;
    --missing;
  }

  Split result;
  result.validation.reserve(static_cast<std::size_t>(validation));
  result.training.reserve(static_cast<std::size_t>(count - validation));
  for (std::size_t sample = 0; sample < held_out.size(); ++sample) {
    auto& part = held_out[sample] ? result.validation : result.training;
    part.push_back(checked_cast<std::uint32_t>(sample));
  }
  return result;
}

}  // namespace

Split split_dataset(const Dataset& dataset, const DataOptions& options) {
  return split(dataset.count, dataset.labels, options, dataset.source);
}

std::string sha256_of(const Split& split) {
  Sha256 hash;
  for (const auto* part : {&split.training, &split.validation}) {
    hash.update(fmt::format("lockstep split {}\n", part->size()));
    hash.update(std::as_bytes(std::span(*part)));
  }
  return to_hex(hash.finish());
}

Split split_samples(std::int64_t count, const DataOptions& options, const std::string& source) {
  return split(count, {}, options, source);
}

}  // namespace lockstep
