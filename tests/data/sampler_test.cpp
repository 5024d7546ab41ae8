#include "lockstep/data/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <vector>

#include "files.h"

namespace lockstep {
namespace {

using data_test::expect_error;
using ::testing::HasSubstr;

constexpr int kRankCounts[] = {1, 2, 3, 4, 7, 64};

TEST(ShardOf, PartsAreConsecutiveBalancedAndComplete) {
  for (const std::int64_t begin : {0, 5}) {
    for (std::int64_t size = 0; size <= 130; ++size) {
      for (const int shards : kRankCounts) {
        std::int64_t next = begin;
        for (int shard = 0; shard < shards; ++shard) {
          const Range part = shard_of({begin, begin + size}, shard, shards);
          EXPECT_EQ(part.begin, next);
          EXPECT_GE(part.size(), size / shards);
          EXPECT_LE(part.size(), (size + shards - 1) / shards);
          next = part.end;
        }
        EXPECT_EQ(next, begin + size);
      }
    }
  }
}

TEST(ShardOf, HugeRangesDoNotOverflow) {
  constexpr std::int64_t kHuge = std::int64_t{1} << 62;
  EXPECT_EQ(shard_of({0, kHuge}, 63, 64), (Range{kHuge / 64 * 63, kHuge}));
}

TEST(ShardOf, WrongArgumentsAreRefused) {
  for (const auto& [shard, shards] : {std::pair{-1, 2}, {2, 2}, {0, 0}}) {
    EXPECT_THROW(shard_of({0, 10}, shard, shards), Error);
  }
  EXPECT_THROW(shard_of({10, 0}, 0, 1), Error);
}

TEST(Chunks, AreConsecutiveFullAndComplete) {
  for (std::int64_t count = 0; count <= 40; ++count) {
    for (std::int64_t size = 1; size <= 41; ++size) {
      std::int64_t next = 0;
      for (std::int64_t i = 0; i < chunk_count(count, size); ++i) {
        const Range chunk = chunk_at(i, size, count);
        EXPECT_EQ(chunk.begin, next);
        EXPECT_GE(chunk.size(), 1);
        EXPECT_TRUE(chunk.size() == size || chunk.end == count);
        next = chunk.end;
      }
      EXPECT_EQ(next, count);
    }
  }
  EXPECT_THROW(chunk_count(1, 0), Error);
}

// All ranks walk through one epoch; what they saw, in the order of steps and ranks.
std::vector<std::uint32_t> epoch_over_ranks(const Sampler& sampler, std::uint32_t epoch,
                                            int ranks) {
  std::vector<std::uint32_t> seen;
  std::vector<std::uint32_t> shard;
  for (std::int64_t step = 0; step < sampler.steps_per_epoch(); ++step) {
    for (int rank = 0; rank < ranks; ++rank) {
      sampler.order(epoch, shard_of(sampler.global_batch(step), rank, ranks), shard);
      seen.insert(seen.end(), shard.begin(), shard.end());
    }
  }
  return seen;
}

TEST(Sampler, EverySampleOnceAnEpochInTheSameOrderWhateverTheRanks) {
  for (const std::int64_t samples : {1, 2, 7, 64, 65, 500}) {
    for (const std::int64_t batch : {1, 2, 5, 64, 86, 1000}) {
      for (const LastBatch last : {LastBatch::kKeep, LastBatch::kDrop}) {
        if (last == LastBatch::kDrop && batch > samples) continue;
        const Sampler sampler(samples, batch, last, 3);
        const std::int64_t full = samples / batch;
        const bool partial = last == LastBatch::kKeep && samples % batch != 0;
        EXPECT_EQ(sampler.steps_per_epoch(), full + (partial ? 1 : 0));
        for (std::int64_t step = 0; step < sampler.steps_per_epoch(); ++step) {
          EXPECT_EQ(sampler.global_batch(step).size(), step < full ? batch : samples % batch);
        }
        const std::vector<std::uint32_t> seen = epoch_over_ranks(sampler, 2, 1);
        for (const int ranks : kRankCounts) EXPECT_EQ(epoch_over_ranks(sampler, 2, ranks), seen);

        std::vector<std::uint32_t> sorted = seen;
        std::sort(sorted.begin(), sorted.end());
        EXPECT_EQ(std::adjacent_find(sorted.begin(), sorted.end()), sorted.end());
        EXPECT_LT(sorted.back(), samples);
        EXPECT_EQ(static_cast<std::int64_t>(seen.size()), partial ? samples : full * batch);
      }
    }
  }
}

TEST(Sampler, IsAPureFunctionOfSeedAndEpoch) {
  const Sampler sampler(5000, 86, LastBatch::kKeep, 1);
  const Sampler same(5000, 999, LastBatch::kDrop, 1);
  const Sampler other(5000, 86, LastBatch::kKeep, 2);
  std::vector<std::uint32_t> whole, part, different;
  for (const std::uint32_t epoch : {0u, 1u, 1000000u}) {
    sampler.order(epoch, {0, 5000}, whole);
    same.order(epoch, {1234, 1300}, part);
    EXPECT_TRUE(std::equal(part.begin(), part.end(), whole.begin() + 1234));
    EXPECT_EQ(part.size(), 66u);
    // Two random permutations agree in about one position.
    other.order(epoch, {0, 5000}, different);
    EXPECT_LT(std::inner_product(whole.begin(), whole.end(), different.begin(), 0, std::plus<>(),
                                 std::equal_to<>()),
              10);
    sampler.order(epoch + 1, {0, 5000}, different);
    EXPECT_LT(std::inner_product(whole.begin(), whole.end(), different.begin(), 0, std::plus<>(),
                                 std::equal_to<>()),
              10);
  }
}

// Chi-squared over a table of position x element, 12 x 12 over many epochs: 121 degrees of freedom,
// mean 121, standard deviation 15.6.
TEST(Sampler, ElementsAreUniformOverPositions) {
  constexpr std::size_t kSize = 12;
  constexpr int kEpochs = 6000;
  const Sampler sampler(kSize, 1, LastBatch::kKeep, 5);
  std::vector<int> table(kSize * kSize);
  std::vector<std::uint32_t> order;
  for (std::uint32_t epoch = 0; epoch < kEpochs; ++epoch) {
    sampler.order(epoch, {0, kSize}, order);
    for (std::size_t i = 0; i < kSize; ++i) ++table[i * kSize + order[i]];
  }
  constexpr double kExpected = static_cast<double>(kEpochs) / kSize;
  double chi_squared = 0;
  for (const int count : table)
    chi_squared += (count - kExpected) * (count - kExpected) / kExpected;
  EXPECT_GT(chi_squared, 121 - 5 * 15.6);
  EXPECT_LT(chi_squared, 121 + 5 * 15.6);
}

// In a random permutation half of all neighbours ascend, and each batch is spread over the whole
// data set.
TEST(Sampler, NeighboursAndBatchesLookShuffled) {
  constexpr std::int64_t kSamples = 54000;
  const Sampler sampler(kSamples, 86, LastBatch::kKeep, 9);
  std::vector<std::uint32_t> order;
  sampler.order(3, {0, kSamples}, order);
  int ascents = 0;
  for (std::size_t i = 1; i < order.size(); ++i) ascents += order[i] > order[i - 1] ? 1 : 0;
  // Standard deviation of the number of ascents: sqrt((n + 1) / 12) = 67.
  EXPECT_NEAR(ascents, kSamples / 2, 5 * 67);
  double sum = 0;
  double square = 0;
  for (std::int64_t step = 0; step < sampler.steps_per_epoch() - 1; ++step) {
    const Range batch = sampler.global_batch(step);
    double mean = 0;
    for (auto i = batch.begin; i < batch.end; ++i) mean += order[static_cast<std::size_t>(i)];
    mean /= static_cast<double>(batch.size() * kSamples);
    sum += mean;
    square += (mean - 0.5) * (mean - 0.5);
  }
  const auto batches = static_cast<double>(sampler.steps_per_epoch() - 1);
  EXPECT_NEAR(sum / batches, 0.5, 1e-3);
  // Variance of the mean of 86 uniform numbers: 1 / (12 * 86).
  EXPECT_NEAR(square / batches * 12 * 86, 1.0, 0.25);
}

TEST(Sampler, WrongArgumentsAreRefused) {
  expect_error(ExitCode::kUsage, HasSubstr("a global batch of 11 exceeds the 10"),
               [] { Sampler(10, 11, LastBatch::kDrop, 1); });
  EXPECT_EQ(Sampler(10, 11, LastBatch::kKeep, 1).steps_per_epoch(), 1);
  EXPECT_EQ(Sampler(10, 10, LastBatch::kDrop, 1).steps_per_epoch(), 1);
  for (const auto& [samples, batch] : {std::pair{0, 1}, {1, 0}, {-1, 1}, {1, -1}}) {
    expect_error(ExitCode::kUsage, HasSubstr("both must be at least 1"),
                 [&, n = samples, b = batch] { Sampler(n, b, LastBatch::kKeep, 1); });
  }
  const Sampler sampler(10, 3, LastBatch::kKeep, 1);
  std::vector<std::uint32_t> out;
  EXPECT_THROW(sampler.global_batch(4), Error);
  EXPECT_THROW(sampler.global_batch(-1), Error);
  EXPECT_THROW(sampler.order(0, {0, 11}, out), Error);
  EXPECT_THROW(sampler.order(0, {-1, 1}, out), Error);
}

}  // namespace
}  // namespace lockstep
