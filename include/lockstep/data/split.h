// Training and validation split.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lockstep/data/load.h"

namespace lockstep {

/// Indices into one dataset, ascending in each; disjoint and together complete.
struct Split {
  std::vector<std::uint32_t> training;
  std::vector<std::uint32_t> validation;
};

/// Holds out round(validation_fraction * count) samples; a pure function of the sample count, the
/// options and, with stratify, the labels: every rank of any world size computes the same. With
/// stratify each class gives the floor or the ceiling of its exact share (largest remainders
/// first). Throws Error{kUsage} for a fraction outside [0, 1) and for stratify without labels, and
/// Error{kBadData} when a fraction above 0 leaves either part empty.
Split split_dataset(const Dataset& dataset, const DataOptions& options);
/// The same for `count` samples of any kind, which have no labels; `source` is for messages.
Split split_samples(std::int64_t count, const DataOptions& options, const std::string& source);

/// 64 hexadecimal digits over the indices of both parts, in their order.
std::string sha256_of(const Split& split);

}  // namespace lockstep
