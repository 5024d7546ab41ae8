#include "lockstep/data/sampler.h"

#include <algorithm>

#include "lockstep/base/cast.h"
#include "lockstep/base/error.h"
#include "lockstep/base/random.h"

namespace lockstep {

Range shard_of(Range whole, int shard, int shards) {
  LOCKSTEP_CHECK(whole.size() >= 0 && shard >= 0 && shard < shards,
                 "shard {} of {} of positions {} to {}", shard, shards, whole.begin, whole.end);
  const std::int64_t base = whole.size() / shards;
  const std::int64_t larger = whole.size() % shards;
  const std::int64_t begin = whole.begin + shard * base + std::min<std::int64_t>(shard, larger);
  return {begin, begin + base + (shard < larger ? 1 : 0)};
}

std::int64_t chunk_count(std::int64_t count, std::int64_t size) {
  LOCKSTEP_CHECK(count >= 0 && size >= 1, "chunks of {} for {} samples", size, count);
  return count / size + (count % size != 0 ? 1 : 0);
}

Range chunk_at(std::int64_t index, std::int64_t size, std::int64_t count) {
  const std::int64_t begin = index * size;
  return {begin, begin + std::min(size, count - begin)};
}

Sampler::Sampler(std::int64_t samples, std::int64_t global_batch, LastBatch last_batch,
                 std::uint64_t seed)
    : samples_(samples), global_batch_(global_batch), seed_(seed) {
  if (samples < 1 || global_batch < 1) {
    fail(ExitCode::kUsage, "{} samples in global batches of {}: both must be at least 1", samples,
         global_batch);
  }
  steps_ =
      last_batch == LastBatch::kKeep ? chunk_count(samples, global_batch) : samples / global_batch;
  if (steps_ == 0) {
    fail(ExitCode::kUsage,
         "a global batch of {} exceeds the {} training samples and incomplete batches are dropped: "
         "no step would be left",
         global_batch, samples);
  }
}

Range Sampler::global_batch(std::int64_t step) const {
  LOCKSTEP_CHECK(step >= 0 && step < steps_, "step {} of {} in an epoch", step, steps_);
  return chunk_at(step, global_batch_, samples_);
}

void Sampler::order(std::uint32_t epoch, Range positions, std::vector<std::uint32_t>& out) const {
  LOCKSTEP_CHECK(
      0 <= positions.begin && positions.begin <= positions.end && positions.end <= samples_,
      "positions {} to {} of {} samples", positions.begin, positions.end, samples_);
  const RandomPermutation permutation(static_cast<std::uint64_t>(samples_), seed_,
                                      Purpose::kSampleOrder, epoch);
  out.clear();
  for (std::int64_t position = positions.begin; position < positions.end; ++position) {
    out.push_back(checked_cast<std::uint32_t>(permutation(static_cast<std::uint64_t>(position))));
  }
}

}  // namespace lockstep
