// Which samples a step trains on: a pure function of (seed, epoch, step), equal on every rank.
#pragma once

#include <cstdint>
#include <vector>

namespace lockstep {

/// Half-open: begin, begin+1, ..., end-1.
struct Range {
  std::int64_t begin = 0;
  std::int64_t end = 0;
  std::int64_t size() const { return end - begin; }
  bool operator==(const Range&) const = default;
};

/// Part `shard` of `whole` cut into `shards` consecutive parts whose sizes differ by at most 1
/// (larger ones first). Parts are empty where shards outnumber elements. 0 <= shard < shards.
Range shard_of(Range whole, int shard, int shards);

/// How many chunks `count` samples are cut into: of `size` each (>= 1), the last one of what is
/// left.
std::int64_t chunk_count(std::int64_t count, std::int64_t size);
/// The samples of one of them.
Range chunk_at(std::int64_t index, std::int64_t size, std::int64_t count);

/// What happens to samples left over at an epoch's end that do not fill a global batch: trained on
/// as a smaller batch, or left out (other ones in each epoch).
enum class LastBatch { kKeep, kDrop };

/// Holds no state but its arguments; nothing of it needs to be saved. Immutable, thread-safe.
class Sampler {
 public:
  /// Throws Error{kUsage} unless samples and global_batch are at least 1, or when kDrop would leave
  /// no step.
  Sampler(std::int64_t samples, std::int64_t global_batch, LastBatch last_batch,
          std::uint64_t seed);

  std::int64_t steps_per_epoch() const { return steps_; }

  /// Positions in the epoch's order that step `step` trains on; 0 <= step < steps_per_epoch().
  Range global_batch(std::int64_t step) const;

  /// Replaces `out` by the elements 0 .. samples-1 at `positions` of the epoch's order, a
  /// permutation. The caller maps them through Split::training.
  void order(std::uint32_t epoch, Range positions, std::vector<std::uint32_t>& out) const;

 private:
  std::int64_t samples_;
  std::int64_t global_batch_;
  std::int64_t steps_;
  std::uint64_t seed_;
};

}  // namespace lockstep
