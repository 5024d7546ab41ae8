// The forecast's arithmetic: figures calculated by hand, and what must hold for any of them.
#include "cli/scaling_model.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "lockstep/base/error.h"

namespace lockstep {
namespace {

constexpr double kMiB = 1 << 20;
constexpr LinkModel kLink{.latency = 1e-3, .seconds_per_byte = 1e-6};

constexpr SumAlgorithm kAlgorithms[] = {SumAlgorithm::kMpi, SumAlgorithm::kTree,
                                        SumAlgorithm::kRing, SumAlgorithm::kRecursiveDoubling};

TEST(SumSeconds, OfATreeThatGoesThereAndBack) {
  // Two levels, there and back: 4 ms; 1000 bytes four times: 4 ms.
  EXPECT_DOUBLE_EQ(sum_seconds(SumAlgorithm::kTree, kLink, 4, 1000), 8e-3);
  // 5 ranks have three levels.
  EXPECT_DOUBLE_EQ(sum_seconds(SumAlgorithm::kTree, kLink, 5, 1000), 12e-3);
  // Of 3 MiB in pieces, one piece is on its way back when the last one has come.
  EXPECT_DOUBLE_EQ(sum_seconds(SumAlgorithm::kTree, kLink, 2, 3 * kMiB), 2e-3 + 4 * kMiB * 1e-6);
}

TEST(SumSeconds, OfMpiIsByHalvesBetweenTwoRanks) {
  EXPECT_DOUBLE_EQ(sum_seconds(SumAlgorithm::kMpi, kLink, 2, 3 * kMiB), 2e-3 + 3 * kMiB * 1e-6);
  EXPECT_EQ(sum_seconds(SumAlgorithm::kMpi, kLink, 3, 1000),
            sum_seconds(SumAlgorithm::kTree, kLink, 3, 1000));
}

TEST(SumSeconds, OfARingAndOfRecursiveDoubling) {
  // 2 * 3 messages, 1.5 times the bytes.
  EXPECT_DOUBLE_EQ(sum_seconds(SumAlgorithm::kRing, kLink, 4, 1000), 7.5e-3);
  EXPECT_DOUBLE_EQ(sum_seconds(SumAlgorithm::kRecursiveDoubling, kLink, 8, 1000), 6e-3);
}

TEST(SumSeconds, OfOneRankAreNone) {
  for (const SumAlgorithm algorithm : kAlgorithms) {
    EXPECT_EQ(sum_seconds(algorithm, kLink, 1, 1e9), 0);
    EXPECT_EQ(sum_algorithm(name_of(algorithm)), algorithm);
  }
  EXPECT_THROW(sum_algorithm("star"), Error);
}

TEST(FitLink, FindsTheLinkThatTheTimesWereMadeOf) {
  for (const SumAlgorithm algorithm : kAlgorithms) {
    for (const int ranks : {2, 4, 7}) {
      for (const LinkModel& link : {LinkModel{20e-6, 8e-9}, LinkModel{1e-6, 1e-10}, kLink}) {
        std::vector<TimedSum> sums;
        for (double bytes = 8; bytes < 1e8; bytes *= 8) {
          sums.push_back({bytes, sum_seconds(algorithm, link, ranks, bytes)});
        }
        const LinkModel found = fit_link(algorithm, ranks, sums);
        EXPECT_NEAR(found.latency / link.latency, 1, 1e-6);
        EXPECT_NEAR(found.seconds_per_byte / link.seconds_per_byte, 1, 1e-6);
        EXPECT_LT(fit_error(algorithm, found, ranks, sums).largest, 1e-6);
      }
    }
  }
}

TEST(FitLink, FindsTheLinkBehindNoise) {
  // Times that are off by a factor of up to 1.2, up or down, whatever the size.
  std::minstd_rand random(1);
  std::uniform_real_distribution<double> exponent(-1, 1);
  const LinkModel link{30e-6, 8e-8};
  std::vector<TimedSum> sums;
  for (int repeat = 0; repeat < 40; ++repeat) {
    for (double bytes = 8; bytes < 1e7; bytes *= 8) {
      sums.push_back({bytes, sum_seconds(SumAlgorithm::kTree, link, 2, bytes) *
                                 std::pow(1.2, exponent(random))});
    }
  }
  const LinkModel found = fit_link(SumAlgorithm::kTree, 2, sums);
  EXPECT_NEAR(found.latency / link.latency, 1, 0.05);
  EXPECT_NEAR(found.seconds_per_byte / link.seconds_per_byte, 1, 0.05);
  const FitError error = fit_error(SumAlgorithm::kTree, found, 2, sums);
  EXPECT_LE(error.typical, 0.2);
  EXPECT_LE(error.typical, error.largest);
}

TEST(FitLink, MiddleSizesThatABucketOfTokensLetsThroughDoNotMakeTheLinkFaster) {
  // Measured over 10 Mbit/s that a token bucket filter made, which counts Ethernet's and TCP's
  // headers: 9.56 Mbit/s are left. The message of 10,432 bytes was paid for by its tokens.
  const std::vector<TimedSum> sums{{8, 75.5e-6},          {10432, 15929.1e-6},
                                   {32768, 53488.2e-6},   {65536, 109039.3e-6},
                                   {131072, 218700.8e-6}, {236672, 395662.9e-6}};
  const LinkModel found = fit_link(SumAlgorithm::kTree, 2, sums);
  EXPECT_NEAR(8e-6 / found.seconds_per_byte, 9.59, 0.04);
  EXPECT_NEAR(sum_seconds(SumAlgorithm::kTree, found, 2, 236672) / 395662.9e-6, 1, 0.006);
  EXPECT_NEAR(sum_seconds(SumAlgorithm::kTree, found, 2, 8) / 75.5e-6, 1, 0.05);
}

TEST(StepModel, WhatBackwardHidesAndWhatItLeaves) {
  StepModel model{.fixed = 2e-3,
                  .per_sample = 1e-3,
                  .buckets = {{1000, 0.5}, {500, 0}},
                  .algorithm = SumAlgorithm::kRecursiveDoubling,
                  .link = kLink};
  // 12 ms; the first leaves after 6 ms and takes 2, the second leaves at the end and takes 1.5.
  EXPECT_DOUBLE_EQ(model.exposed(2, 10), 1.5e-3);
  // 16 ranks have four messages one after the other. At 4 ms the first one of the first sum has
  // come, which left after 2; three of 2 ms follow, then three of 1.5: the first of these came on
  // the way.
  EXPECT_DOUBLE_EQ(model.exposed(16, 2), 6e-3 + 4.5e-3);
  EXPECT_DOUBLE_EQ(model.seconds(16, 2), 4e-3 + 10.5e-3);
  // A ring needs nobody: 4 ms from 6 on, then 3.5 from 12 on; or from 2 to 6, and 3.5 from there.
  model.algorithm = SumAlgorithm::kRing;
  model.link.latency = 1.5e-3;
  EXPECT_DOUBLE_EQ(model.exposed(2, 10), 3.5e-3);
  EXPECT_DOUBLE_EQ(model.exposed(2, 2), 2e-3 + 3.5e-3);
  EXPECT_EQ(model.exposed(1, 10), 0);
}

TEST(StepModel, StepsAreFittedByALineThatIsNotBelowNothing) {
  StepModel model;
  fit_steps(model, std::vector<TimedStep>{{10, 0.03}, {20, 0.05}, {40, 0.09}});
  EXPECT_NEAR(model.fixed, 0.01, 1e-12);
  EXPECT_NEAR(model.per_sample, 0.002, 1e-12);
  fit_steps(model, std::vector<TimedStep>{{10, 0.03}});
  EXPECT_EQ(model.fixed, 0);
  EXPECT_DOUBLE_EQ(model.per_sample, 0.003);
  // Steeper than a line through nothing.
  fit_steps(model, std::vector<TimedStep>{{10, 0.01}, {20, 0.03}});
  EXPECT_EQ(model.fixed, 0);
  EXPECT_GT(model.per_sample, 0.001);
  EXPECT_LT(model.per_sample, 0.0015);
}

TEST(StepModel, BucketsThatNobodyTimedAreFilledEvenly) {
  const std::vector<std::int64_t> bytes{300, 200, 100};
  const std::vector<SentBucket> buckets = evenly_filled(bytes);
  ASSERT_EQ(buckets.size(), 3u);
  EXPECT_EQ(buckets[0].bytes, 300);
  EXPECT_NEAR(buckets[0].lead, 4.0 / 9, 1e-12);
  EXPECT_NEAR(buckets[1].lead, 2.0 / 9, 1e-12);
  EXPECT_NEAR(buckets[2].lead, 0, 1e-12);
}

TEST(ForecastTest, ByHand) {
  // 64 samples take 64 ms. Two ranks: 32 ms, and 1 + 6.5 ms for the sum, all of it exposed.
  const StepModel model{.fixed = 0,
                        .per_sample = 1e-3,
                        .buckets = {{6500, 0}},
                        .algorithm = SumAlgorithm::kRecursiveDoubling,
                        .link = kLink};
  const Forecast two = forecast(model, 2, 64, 0.9);
  EXPECT_DOUBLE_EQ(two.strong_seconds, 39.5e-3);
  EXPECT_DOUBLE_EQ(two.strong_efficiency, 64 / 79.0);
  EXPECT_DOUBLE_EQ(two.weak_seconds, 71.5e-3);
  EXPECT_DOUBLE_EQ(two.weak_efficiency, 64 / 71.5);
  // b / (b + 7.5) = 0.9 at 67.5.
  EXPECT_EQ(two.batch_per_rank, 68);
  // More ranks than samples: the largest shard is one sample.
  EXPECT_DOUBLE_EQ(forecast(model, 128, 64, 0.9).strong_seconds, 1e-3 + 7 * 7.5e-3);
}

// Over random models.
TEST(ForecastTest, WhatMustHold) {
  std::minstd_rand random(7);
  const auto between = [&](double low, double high) {
    return low * std::pow(high / low, std::uniform_real_distribution<double>(0, 1)(random));
  };
  for (int round = 0; round < 300; ++round) {
    StepModel model{
        .fixed = between(1e-6, 1e-1), .per_sample = between(1e-7, 1e-2), .buckets = {}, .link = {}};
    model.algorithm = kAlgorithms[round % std::size(kAlgorithms)];
    model.link = {between(1e-7, 1e-2), between(1e-11, 1e-5)};
    double lead = 0.7;
    for (int bucket = 0; bucket < 1 + round % 4; ++bucket, lead /= 3) {
      model.buckets.push_back({between(1e2, 1e8), lead});
    }
    model.buckets.back().lead = 0;
    const auto batch = static_cast<std::int64_t>(between(1, 1e4));
    SCOPED_TRACE(round);

    const Forecast one = forecast(model, 1, batch, 0.9);
    EXPECT_DOUBLE_EQ(one.strong_efficiency, 1);
    EXPECT_DOUBLE_EQ(one.weak_efficiency, 1);
    EXPECT_EQ(one.batch_per_rank, 1);

    double before = 1;
    for (const int ranks : {2, 3, 8, 64, 1024}) {
      const Forecast seen = forecast(model, ranks, batch, 0.9);
      EXPECT_GT(seen.strong_efficiency, 0);
      EXPECT_LE(seen.strong_efficiency, 1 + 1e-12);
      EXPECT_LE(seen.weak_efficiency, before + 1e-12);  // more ranks never help
      before = seen.weak_efficiency;
      // The batch that is named reaches the target, one sample less does not.
      const auto efficiency = [&](std::int64_t samples) {
        return forecast(model, ranks, samples, 0.9).weak_efficiency;
      };
      ASSERT_GT(seen.batch_per_rank, 0);
      EXPECT_GE(efficiency(seen.batch_per_rank), 0.9);
      if (seen.batch_per_rank > 1) {
        EXPECT_LT(efficiency(seen.batch_per_rank - 1), 0.9);
      }
      // A better link never makes it worse.
      StepModel better = model;
      better.link.seconds_per_byte /= 2;
      EXPECT_GE(forecast(better, ranks, batch, 0.9).strong_efficiency, seen.strong_efficiency);
      better.link.latency /= 2;
      EXPECT_LE(forecast(better, ranks, batch, 0.9).batch_per_rank, seen.batch_per_rank);
    }
  }
}

}  // namespace
}  // namespace lockstep
