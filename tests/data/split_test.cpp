#include "lockstep/data/split.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <set>
#include <string>
#include <vector>

#include "files.h"

namespace lockstep {
namespace {

using data_test::expect_error;
using data_test::make_dataset;
using ::testing::HasSubstr;

DataOptions with(double fraction, bool stratify = false, std::uint64_t seed = 1) {
  DataOptions options;
  options.validation_fraction = fraction;
  options.stratify = stratify;
  options.split_seed = seed;
  return options;
}

// Class k has a share of samples that grows with k; classes 8 and 9 are missing when count is
// small.
Dataset uneven(std::int64_t count) {
  Dataset dataset = make_dataset(count, 1, 1, 1);
  for (std::size_t i = 0; i < dataset.labels.size(); ++i) {
    const double share = static_cast<double>(i) / static_cast<double>(count);
    dataset.labels[i] = static_cast<std::uint8_t>(10.0 * std::sqrt(share));
  }
  return dataset;
}

TEST(Split, IsDisjointCompleteAscendingAndOfTheRightSize) {
  for (const std::int64_t count : {2, 3, 10, 99, 1000, 60000}) {
    const Dataset dataset = uneven(count);
    for (const double fraction : {0.0, 0.001, 0.1, 0.3, 0.5, 0.99}) {
      for (const bool stratify : {false, true}) {
        const auto expected = std::llround(fraction * static_cast<double>(count));
        if (fraction > 0 && (expected == 0 || expected == count)) continue;
        const Split split = split_dataset(dataset, with(fraction, stratify));
        EXPECT_EQ(static_cast<std::int64_t>(split.validation.size()), expected);
        for (const auto* part : {&split.training, &split.validation}) {
          EXPECT_TRUE(std::is_sorted(part->begin(), part->end()));
        }
        std::vector<std::uint32_t> all = split.training;
        all.insert(all.end(), split.validation.begin(), split.validation.end());
        std::sort(all.begin(), all.end());
        std::vector<std::uint32_t> every(static_cast<std::size_t>(count));
        std::iota(every.begin(), every.end(), 0u);
        EXPECT_EQ(all, every) << count << " " << fraction << " " << stratify;
      }
    }
  }
}

TEST(Split, HasADigestOfBothParts) {
  const Split split{.training = {0, 1, 2}, .validation = {3, 4}};
  std::set<std::string> digests{sha256_of(split)};
  for (const Split& other : {Split{.training = {0, 1, 3}, .validation = {2, 4}},
                             Split{.training = {1, 0, 2}, .validation = {3, 4}},
                             Split{.training = {0, 1, 2}, .validation = {3, 5}},
                             Split{.training = {0, 1}, .validation = {2, 3, 4}},
                             Split{.training = {0, 1, 2, 3, 4}, .validation = {}},
                             Split{.training = {0, 1, 2}, .validation = {}}}) {
    digests.insert(sha256_of(other));
  }
  EXPECT_EQ(digests.size(), 7u);
  EXPECT_EQ(sha256_of(Split(split)), sha256_of(split));
}

TEST(Split, IsAFunctionOfItsSeed) {
  const Dataset dataset = uneven(2000);
  for (const bool stratify : {false, true}) {
    std::set<std::vector<std::uint32_t>> different;
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
      const Split split = split_dataset(dataset, with(0.1, stratify, seed));
      EXPECT_EQ(split.validation, split_dataset(dataset, with(0.1, stratify, seed)).validation);
      different.insert(split.validation);
    }
    EXPECT_EQ(different.size(), 20u);
  }
}

// Over many seeds every sample is held out about equally often: 400 draws with probability 0.1 have
// mean 40 and standard deviation 6; of 500 samples none should lie 6 deviations away.
TEST(Split, HoldsOutEverySampleEquallyOften) {
  Dataset dataset = make_dataset(500, 1, 1, 1);
  for (std::size_t i = 0; i < 500; ++i) dataset.labels[i] = static_cast<std::uint8_t>(i % 10);
  for (const bool stratify : {false, true}) {
    std::vector<int> times(500);
    for (std::uint64_t seed = 0; seed < 400; ++seed) {
      for (const auto i : split_dataset(dataset, with(0.1, stratify, seed)).validation) ++times[i];
    }
    EXPECT_GT(*std::min_element(times.begin(), times.end()), 4) << stratify;
    EXPECT_LT(*std::max_element(times.begin(), times.end()), 76) << stratify;
  }
}

TEST(Split, StratifiedSharesDifferByLessThanOneFromExact) {
  for (const std::int64_t count : {10, 57, 100, 1234, 60000}) {
    const Dataset dataset = uneven(count);
    std::vector<std::uint32_t> all(static_cast<std::size_t>(count));
    std::iota(all.begin(), all.end(), 0u);
    const auto sizes = class_counts(dataset, all);
    for (const double fraction : {0.07, 0.1, 0.25, 1.0 / 3.0, 0.5, 0.9}) {
      const Split split = split_dataset(dataset, with(fraction, true));
      const auto counts = class_counts(dataset, split.validation);
      for (std::size_t k = 0; k < kClasses; ++k) {
        EXPECT_LT(
            std::abs(static_cast<double>(counts[k]) - fraction * static_cast<double>(sizes[k])),
            1.0 + 1e-9)
            << count << " samples, fraction " << fraction << ", class " << k;
      }
    }
  }
}

TEST(Split, TooFewSamplesAreRefused) {
  for (const auto& [count, fraction] :
       {std::pair{1, 0.1}, {4, 0.1}, {1, 0.5}, {3, 0.9}, {499, 0.001}}) {
    expect_error(ExitCode::kBadData, HasSubstr(std::to_string(count) + " samples cannot be split"),
                 [&, n = count, f = fraction] { split_dataset(uneven(n), with(f)); });
  }
  EXPECT_EQ(split_dataset(uneven(5), with(0.1)).validation.size(), 1u);
  EXPECT_EQ(split_dataset(uneven(1), with(0.0)).training.size(), 1u);
}

TEST(Split, WrongOptionsAreRefused) {
  for (const double fraction : {-0.1, 1.0, 2.0, std::nan("")}) {
    expect_error(ExitCode::kUsage, HasSubstr("at least 0 and below 1"),
                 [&] { split_dataset(uneven(100), with(fraction)); });
  }
  Dataset unlabelled = uneven(100);
  unlabelled.labels.clear();
  EXPECT_NO_THROW(split_dataset(unlabelled, with(0.1)));
  expect_error(ExitCode::kUsage, HasSubstr("needs labels"),
               [&] { split_dataset(unlabelled, with(0.1, true)); });
}

}  // namespace
}  // namespace lockstep
