// A training's batches, in the host's memory.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <exception>
#include <vector>

#include "lockstep/data/sampler.h"
#include "lockstep/train/samples.h"

namespace lockstep {

/// What the samples at some positions of an epoch's order are.
struct SampleBatch {
  at::Tensor inputs;   ///< [B, shape...]
  at::Tensor targets;  ///< [B, shape...]
  at::Tensor keys;     ///< int64 [B]: their numbers in the source
};

/// Reads one batch at a time, the next one perhaps early. Not thread-safe.
class BatchReader {
 public:
  /// Keeps references to all of it. `order` is one of positions in `training`, which holds numbers
  /// of `source`. `pinned`: memory from which a GPU copies fast.
  BatchReader(const SampleSource& source, const std::vector<std::uint32_t>& training,
              const Sampler& order, std::uint64_t seed, bool pinned);

  /// Views of memory that is reused by the next read or read_ahead. Throws what the source throws.
  SampleBatch read(std::uint32_t epoch, Range positions);
  /// Reads what the next read() will ask for: that gives it at once, or throws what has been thrown
  /// here. Asked for something else, it forgets it.
  void read_ahead(std::uint32_t epoch, Range positions);

 private:
  struct Ahead {
    std::uint32_t epoch = 0;
    Range positions{};
    std::exception_ptr failure{};
  };
  void fill(std::uint32_t epoch, Range positions);
  SampleBatch first(std::int64_t count) const;

  const SampleSource& source_;
  const std::vector<std::uint32_t>& training_;
  const Sampler& order_;
  std::uint64_t seed_;
  bool pinned_;
  std::vector<std::uint32_t> samples_;
  SampleBatch memory_;  // for the largest batch so far
  Ahead ahead_;         // empty positions: nothing
};

}  // namespace lockstep
