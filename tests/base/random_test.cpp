// The generator against its published vectors, and what everything else relies on: streams that
// never meet, and permutations that are bijections.
#include "lockstep/base/random.h"

#include <gmock/gmock.h>

#include <cmath>
#include <set>
#include <vector>

#include "base/philox.h"
#include "lockstep/base/error.h"

namespace lockstep {
namespace {

using testing::Each;
using testing::ElementsAre;

/// The key whose block has exactly this Philox counter and key.
RandomKey key_of(const std::array<std::uint32_t, 4>& counter,
                 const std::array<std::uint32_t, 2>& key) {
  return {.seed = std::uint64_t{key[1]} << 32 | key[0],
          .purpose = static_cast<Purpose>(counter[3] >> 24),
          .epoch = counter[2],
          .sample = std::uint64_t{counter[3] & 0xffff} << 32 | counter[1],
          .layer = static_cast<std::uint8_t>(counter[3] >> 16)};
}

// The philox4x32-10 lines of Random123's kat_vectors.
TEST(RandomWords, AreThePublishedKnownAnswers) {
  EXPECT_THAT(random_words(key_of({0, 0, 0, 0}, {0, 0}), 0),
              ElementsAre(0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8));
  constexpr std::uint32_t kOnes = 0xffffffff;
  EXPECT_THAT(random_words(key_of({kOnes, kOnes, kOnes, kOnes}, {kOnes, kOnes}), kOnes),
              ElementsAre(0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd));
  EXPECT_THAT(random_words(key_of({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
                                  {0xa4093822, 0x299f31d0}),
                           0x243f6a88),
              ElementsAre(0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1));
}

// Under one seed Philox maps counters to blocks one to one, so equal blocks would mean equal
// counters.
TEST(RandomWords, NoFieldOfTheKeySharesItsStreamWithAnother) {
  std::set<std::array<std::uint32_t, 4>> blocks;
  std::size_t drawn = 0;
  for (const std::uint64_t sample : {0ull, 1ull, 0xffffffffull, 1ull << 32, (1ull << 48) - 1}) {
    for (const std::uint32_t epoch : {0u, 1u, 0xffffffffu}) {
      for (int purpose = 1; purpose <= 6; ++purpose) {
        for (const int layer : {0, 1, 255}) {
          for (const std::uint32_t block : {0u, 1u, 0xffffffffu}) {
            const RandomKey key{.seed = 7,
                                .purpose = static_cast<Purpose>(purpose),
                                .epoch = epoch,
                                .sample = sample,
                                .layer = static_cast<std::uint8_t>(layer)};
            blocks.insert(random_words(key, block));
            ++drawn;
          }
        }
      }
    }
  }
  EXPECT_EQ(blocks.size(), drawn);
}

TEST(RandomWords, DependOnBothHalvesOfTheSeed) {
  std::set<std::array<std::uint32_t, 4>> blocks;
  for (int bit = 0; bit < 64; ++bit) blocks.insert(random_words({.seed = 1ull << bit}, 0));
  EXPECT_EQ(blocks.size(), 64u);
}

TEST(FillRandomWords, GivesTheWordsOfTheBlocksInOrder) {
  const RandomKey key{.seed = 3, .purpose = Purpose::kDropout, .epoch = 2, .sample = 5, .layer = 1};
  for (const std::uint32_t first : {0u, 1u, 70'000u, 0xfffffff9u}) {
    for (std::size_t size = 0; size <= 100; ++size) {
      std::vector<std::uint32_t> words(size + 1, 0xabcdef01);
      fill_random_words(key, std::span(words).first(size), first);
      for (std::size_t i = 0; i < size; ++i) {
        EXPECT_EQ(words[i], random_words(key, first + static_cast<std::uint32_t>(i / 4))[i % 4]);
      }
      EXPECT_EQ(words[size], 0xabcdef01) << "wrote past the end of " << size;
    }
  }
}

// Whatever this CPU can use, not only what it uses.
TEST(FillRandomWords, GivesTheSameOnEveryInstructionSet) {
  const RandomKey key{.seed = 0xfedcba9876543210,
                      .purpose = Purpose::kDropout,
                      .epoch = 0xfffffffe,
                      .sample = 0xabcdef012345,
                      .layer = 255};
  for (const InstructionSet set : instruction_sets()) {
    SCOPED_TRACE(name_of(set));
    PhiloxFill* const fill = find_philox(set);
    ASSERT_NE(fill, nullptr);
    for (const std::uint32_t first : {0u, 12'345u, 0xffffffe0u}) {
      for (const std::size_t size : {0u, 3u, 15u, 16u, 31u, 33u, 100u, 1000u}) {
        std::vector<std::uint32_t> words(size + 1, 0xabcdef01);
        const PhiloxStart start{
            .counter = {first, 0xef012345, 0xfffffffe,
                        static_cast<std::uint32_t>(Purpose::kDropout) << 24 | 0xffabcd},
            .key = {0x76543210, 0xfedcba98}};
        const std::size_t done = fill(start, std::span(words).first(size));
        EXPECT_EQ(done % 4, 0u);
        EXPECT_LT(size - done, 32u);
        for (std::size_t i = 0; i < done; ++i) {
          ASSERT_EQ(words[i], random_words(key, first + static_cast<std::uint32_t>(i / 4))[i % 4])
              << i << " of " << size << " from block " << first;
        }
        for (std::size_t i = done; i <= size; ++i) EXPECT_EQ(words[i], 0xabcdef01) << i;
      }
    }
  }
}

TEST(Uniform, CoversTheHalfOpenInterval) {
  EXPECT_EQ(uniform_float(0), 0.0f);
  EXPECT_EQ(uniform_float(0xff), 0.0f);
  EXPECT_EQ(uniform_float(0x100), 0x1p-24f);
  EXPECT_EQ(uniform_float(0xffffffff), 1.0f - 0x1p-24f);
  EXPECT_EQ(uniform_double(0, 0x7ff), 0.0);
  EXPECT_EQ(uniform_double(0, 0x800), 0x1p-53);
  EXPECT_EQ(uniform_double(0x80000000, 0), 0.5);
  EXPECT_EQ(uniform_double(0xffffffff, 0xffffffff), 1.0 - 0x1p-53);
}

TEST(Uniform, HasTheMeanAndVarianceOfTheUniformDistribution) {
  std::vector<std::uint32_t> words(100000);
  fill_random_words({.seed = 11, .purpose = Purpose::kDropout}, words);
  double sum = 0;
  double squares = 0;
  for (const std::uint32_t word : words) {
    const double centred = static_cast<double>(uniform_float(word)) - 0.5;
    sum += centred;
    squares += centred * centred;
  }
  const auto n = static_cast<double>(words.size());
  EXPECT_NEAR(sum / n, 0.0, 5 * std::sqrt(1.0 / 12 / n));
  EXPECT_NEAR(squares / n, 1.0 / 12, 5 * std::sqrt(1.0 / 180 / n));
}

TEST(RandomPermutation, IsABijectionForEverySizeUpTo1000) {
  for (std::uint64_t size = 0; size <= 1000; ++size) {
    const RandomPermutation permutation(size, 5, Purpose::kSampleOrder, 3);
    EXPECT_EQ(permutation.size(), size);
    std::vector<int> hits(size, 0);
    for (std::uint64_t i = 0; i < size; ++i) {
      const std::uint64_t element = permutation(i);
      ASSERT_LT(element, size);
      ++hits[element];
    }
    ASSERT_THAT(hits, Each(1)) << size;
  }
}

TEST(RandomPermutation, IsABijectionAtTheSizesOfRealEpochs) {
  for (const std::uint64_t size : {42000ull, 54000ull, 60000ull, (1ull << 16) + 1}) {
    const RandomPermutation permutation(size, 1, Purpose::kSampleOrder, 0);
    std::vector<bool> seen(size, false);
    for (std::uint64_t i = 0; i < size; ++i) {
      const std::uint64_t element = permutation(i);
      ASSERT_LT(element, size);
      ASSERT_FALSE(seen[element]);
      seen[element] = true;
    }
  }
}

TEST(RandomPermutation, SamplesOfHugeSizesAreDistinctAndInRange) {
  for (const std::uint64_t size :
       {(1ull << 32) - 1, 1ull << 32, (1ull << 32) + 1, (1ull << 46) + 1, 1ull << 48}) {
    const RandomPermutation permutation(size, 9, Purpose::kSampleOrder, 1);
    std::set<std::uint64_t> elements;
    for (std::uint64_t i = 0; i < 500; ++i) {
      for (const std::uint64_t position : {i, size - 1 - i}) {
        const std::uint64_t element = permutation(position);
        ASSERT_LT(element, size);
        elements.insert(element);
      }
    }
    EXPECT_EQ(elements.size(), 1000u) << size;
    EXPECT_GT(*elements.rbegin(), size / 2) << "the high bits are never used";
  }
}

TEST(RandomPermutation, RefusesPositionsOutsideAndSizesItCannotHold) {
  EXPECT_THROW(RandomPermutation(0, 1, Purpose::kSplit, 0)(0), Error);
  EXPECT_THROW(RandomPermutation(5, 1, Purpose::kSplit, 0)(5), Error);
  EXPECT_THROW(RandomPermutation((1ull << 48) + 1, 1, Purpose::kSplit, 0), Error);
}

TEST(RandomPermutation, ChangesWithSeedEpochAndPurpose) {
  const auto order = [](std::uint64_t seed, Purpose purpose, std::uint32_t epoch) {
    const RandomPermutation permutation(100, seed, purpose, epoch);
    std::vector<std::uint64_t> elements;
    for (std::uint64_t i = 0; i < 100; ++i) elements.push_back(permutation(i));
    return elements;
  };
  const auto first = order(1, Purpose::kSampleOrder, 0);
  EXPECT_EQ(order(1, Purpose::kSampleOrder, 0), first);
  EXPECT_NE(order(2, Purpose::kSampleOrder, 0), first);
  EXPECT_NE(order(1, Purpose::kSplit, 0), first);
  EXPECT_NE(order(1, Purpose::kSampleOrder, 1), first);
}

// Pearson's statistic of every (position, element) pair against equal frequency, 6 standard
// deviations above its mean. (Whole orders of a handful of elements are not equally likely to a few
// per cent: a Feistel network on so few bits cannot reach all of them evenly. No epoch is that
// small.)
TEST(RandomPermutation, TakesEveryElementToEveryPositionEquallyOften) {
  for (const std::uint64_t size : {2u, 3u, 4u, 5u, 16u, 17u, 65u}) {
    constexpr std::uint32_t kMean = 100;
    const auto epochs = static_cast<std::uint32_t>(size * kMean);
    std::vector<double> counts(size * size);
    for (std::uint32_t epoch = 0; epoch < epochs; ++epoch) {
      const RandomPermutation permutation(size, 17, Purpose::kSampleOrder, epoch);
      for (std::uint64_t i = 0; i < size; ++i) ++counts[i * size + permutation(i)];
    }
    double statistic = 0;
    for (const double count : counts) statistic += (count - kMean) * (count - kMean) / kMean;
    const auto n = static_cast<double>(size);
    const double freedom = (n - 1) * (n - 1);
    EXPECT_LT(statistic, freedom + 6 * std::sqrt(2 * freedom)) << size;
    EXPECT_GT(statistic, freedom - 6 * std::sqrt(2 * freedom)) << size << ": too even";
  }
}

// For a random order the mean distance of neighbours is n/3 with standard deviation about n/sqrt(18
// m).
TEST(RandomPermutation, NeighboursAreUnrelated) {
  constexpr std::uint64_t kSize = 54000;
  const RandomPermutation permutation(kSize, 1, Purpose::kSampleOrder, 4);
  double sum = 0;
  for (std::uint64_t i = 0; i + 1 < kSize; ++i) {
    const auto here = static_cast<double>(permutation(i));
    sum += std::abs(static_cast<double>(permutation(i + 1)) - here);
  }
  const auto n = static_cast<double>(kSize);
  EXPECT_NEAR(sum / (n - 1), n / 3, 6 * n / std::sqrt(18 * n));
}

}  // namespace
}  // namespace lockstep
