// Where the time of a step went adds up; records are read back; the page says what was measured.
#include "cli/scaling_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "lockstep/base/error.h"

namespace lockstep {
namespace {

using Json = nlohmann::ordered_json;
using ::testing::HasSubstr;

TEST(PartsOf, TheWaitOfTheLastRankIsTheExchange) {
  // The first rank is ready after 10 ms and waits 8, the other after 15 and waits 3.
  const std::vector<RankStep> steps{
      {{.data = 1, .forward = 2, .backward = 5, .communication = 8, .optimizer = 1, .other = 1},
       19},
      {{.data = 1, .forward = 4, .backward = 8, .communication = 3, .optimizer = 1, .other = 1},
       19}};
  const StepParts parts = parts_of(steps, 2);
  EXPECT_DOUBLE_EQ(parts.data, 1);
  EXPECT_DOUBLE_EQ(parts.computing, 10.5);
  EXPECT_DOUBLE_EQ(parts.host, 1);
  EXPECT_DOUBLE_EQ(parts.skew, 2.5);
  EXPECT_DOUBLE_EQ(parts.exposed, 3);
  EXPECT_DOUBLE_EQ(parts.rest, 1);
  EXPECT_DOUBLE_EQ(parts.step(), 19);
}

TEST(PartsOf, AddUpWhateverTheRanksDid) {
  std::minstd_rand random(3);
  std::exponential_distribution<double> some(1);
  for (const int ranks : {1, 2, 5}) {
    std::vector<RankStep> steps(static_cast<std::size_t>(ranks) * 4);
    double wall = 0;
    for (RankStep& step : steps) {
      step = {{some(random), some(random), some(random), some(random), some(random), some(random)},
              some(random)};
      wall += step.wall / static_cast<double>(steps.size());
    }
    const StepParts parts = parts_of(steps, ranks);
    EXPECT_NEAR(parts.step(), wall, 1e-12);
    EXPECT_GE(parts.skew, 0);
    EXPECT_GE(parts.exposed, 0);
    if (ranks == 1) {
      EXPECT_NEAR(parts.skew, 0, 1e-12);
    }
    for (const auto& alone : {std::optional<double>(), std::optional(0.3), std::optional(30.0)}) {
      double sum = 0;
      for (const NamedPart& part : named_parts(parts, alone)) sum += part.seconds;
      EXPECT_NEAR(sum, parts.total(), 1e-12);
    }
  }
}

ScalingRun run_of(int ranks, std::int64_t batch, double step) {
  ScalingRun run{.ranks = ranks,
                 .global_batch = batch,
                 .steps_per_epoch = 100,
                 .samples = static_cast<double>(batch),
                 .parts = {.computing = 0.6 * step,
                           .data = 0.05 * step,
                           .host = 0.05 * step,
                           .skew = 0.1 * step,
                           .exposed = 0.2 * step,
                           .validation = 0.01,
                           .checkpoint = 0.02},
                 .backend = "mpi",
                 .buckets = {},
                 .sums = {}};
  if (ranks == 1) return run;
  run.buckets = {{4000, 0.4}, {100, 0}};
  for (const double bytes : {64.0, 512.0, 4000.0}) {
    run.sums.push_back(
        {bytes, sum_seconds(SumAlgorithm::kMpi, {10e-6, 1e-8}, ranks, bytes) * 1.01});
  }
  return run;
}

// One and two ranks, of which two have half the step.
ScalingReport sample_report() {
  ScalingReport report{.title = "a title", .rows = {}, .forecast = {}};
  report.rows.push_back({false, 1, 80, {run_of(1, 80, 0.17)}, 0.1});
  report.rows.push_back(
      {false, 2, 80, {run_of(2, 80, 0.9), run_of(2, 80, 0.09), run_of(2, 80, 0.07)}, 0.05});
  report.rows.push_back({true, 1, 80, {run_of(1, 80, 0.17)}, 0.1});
  ScalingForecast forecast{.model = step_model({{80, 0.16}, {40, 0.09}}, run_of(2, 80, 0.09)),
                           .global_batch = 80,
                           .source = "somewhere",
                           .ranks = {}};
  for (const int ranks : {8, 1024}) {
    forecast.ranks.push_back(lockstep::forecast(forecast.model, ranks, 80, kTargetEfficiency));
  }
  report.forecast = forecast;
  return report;
}

TEST(Report, EfficiencyIsAgainstTheFewestRanks) {
  const ScalingReport report = sample_report();
  EXPECT_DOUBLE_EQ(report.efficiency(report.rows[0]), 1);
  // 0.2 s against the middle one of three, 0.12 s, on two ranks.
  EXPECT_NEAR(report.efficiency(report.rows[1]), 0.2 / 0.12 / 2, 1e-12);
  EXPECT_EQ(report.linked().size(), 1u);
}

TEST(Report, SumsOfAllRoundsCount) {
  ScalingReport report = sample_report();
  report.rows[1].rounds[0].sums = {{64, 3}, {512, 1}};
  report.rows[1].rounds[1].sums = {{64, 1}, {512, 9}};
  report.rows[1].rounds[2].sums = {{64, 2}, {512, 8}};
  const std::vector<TimedSum> sums = median_sums(report, 2);
  ASSERT_EQ(sums.size(), 2u);
  EXPECT_EQ(sums[0].bytes, 64);
  EXPECT_EQ(sums[0].seconds, 2);
  EXPECT_EQ(sums[1].seconds, 8);
  EXPECT_TRUE(median_sums(report, 1).empty());
}

TEST(Report, TheTableHasSharesOfAStep) {
  const std::string text = scaling_text(sample_report());
  EXPECT_THAT(text, HasSubstr("a title"));
  // 120 ms: 50 of computing alone, 4 more, and so on.
  EXPECT_THAT(text, HasSubstr("strong       2      80     666.7      83.3 %    120.00"));
  EXPECT_THAT(text, HasSubstr("41.7 %"));
  EXPECT_THAT(text, HasSubstr("its memory, no network"));
  EXPECT_THAT(text, HasSubstr("forecast of the steps alone: somewhere"));
}

TEST(Report, ItsRecordAddsUpAndIsReadBack) {
  Json record;
  add_scaling(record, sample_report());
  for (const Json& row : record["results"]) {
    double sum = 0;
    for (const auto& [name, ms] : row["parts_ms"].items()) sum += ms.get<double>();
    EXPECT_NEAR(sum, row["step_ms"].get<double>(), 1e-9);
  }
  const ScalingRun run = scaling_run_of(Json::parse(record["results"][1]["run"].dump()));
  const ScalingReport report = sample_report();
  const ScalingRun& written = report.rows[1].typical();
  EXPECT_NEAR(run.rate(), written.rate(), 1e-9);
  EXPECT_NEAR(run.own_step().seconds, written.own_step().seconds, 1e-12);
  EXPECT_EQ(run.own_step().samples, 40);
  ASSERT_EQ(run.buckets.size(), 2u);
  EXPECT_EQ(run.buckets[0].lead, 0.4);
  ASSERT_EQ(run.sums.size(), 3u);
  EXPECT_EQ(run.sums[2].bytes, 4000);

  const ScalingForecast read = forecast_of(Json::parse(record.dump()), "a file");
  const StepModel& model = report.forecast->model;
  EXPECT_EQ(read.global_batch, 80);
  EXPECT_NEAR(read.model.seconds(64, 17), model.seconds(64, 17), 1e-12);
  EXPECT_NEAR(record["links"][0]["latency_us"].get<double>(), 10.1, 1e-3);
}

TEST(Report, OtherFilesAreRefused) {
  for (const char* text :
       {"{}", "[]", R"({"forecast": 3})", R"({"forecast": {"global_batch": "x"}})"}) {
    EXPECT_THROW(forecast_of(Json::parse(text), "a file"), Error) << text;
    EXPECT_THROW(scaling_run_of(Json::parse(text)), Error) << text;
  }
}

TEST(Report, NumbersThatNoTrainingHasAreRefused) {
  Json record;
  add_scaling(record, sample_report());
  ASSERT_NO_THROW(forecast_of(record, "a file"));
  for (const double lead : {0.0, 1.0}) {
    Json edge = record;
    edge["forecast"]["buckets"] = Json::array({{{"bytes", 1}, {"lead", lead}}});
    edge["forecast"]["fixed_ms"] = 0;
    edge["forecast"]["latency_us"] = 0;
    EXPECT_NO_THROW(forecast_of(edge, "a file")) << lead;
  }
  for (const auto& [place, value] : std::vector<std::pair<const char*, Json>>{
           {"global_batch", 0},
           {"global_batch", -80},
           {"global_batch", 80.7},
           {"global_batch", 1e30},
           {"global_batch", 9223372036854775807},
           {"fixed_ms", -1},
           {"ms_per_sample", 0},
           {"ms_per_sample", 1e300},
           {"latency_us", -2},
           {"mbit_per_second", 0},
           {"mbit_per_second", -5},
           {"mbit_per_second", 1e-320},
           {"buckets", Json::array()},
           {"buckets", Json::array({{{"bytes", 0}, {"lead", 0.5}}})},
           {"buckets", Json::array({{{"bytes", -1}, {"lead", 0.5}}})},
           {"buckets", Json::array({{{"bytes", 100}, {"lead", 1.5}}})}}) {
    Json wrong = record;
    wrong["forecast"][place] = value;
    std::string message;
    try {
      forecast_of(wrong, "a file");
    } catch (const Error& error) {
      message = error.what();
    }
    EXPECT_THAT(message, HasSubstr("numbers that no training has")) << place << " " << value;
  }
}

TEST(Report, ThePictureHasAllOfIt) {
  const ScalingPicture picture = scaling_picture(sample_report());
  EXPECT_EQ(picture.rates.size(), 2u);
  EXPECT_EQ(picture.efficiencies.size(), 4u);  // measured and foreseen, strong and weak
  ASSERT_EQ(picture.bars.size(), 3u);
  for (const ScalingPicture::Bar& bar : picture.bars) {
    ASSERT_EQ(bar.shares.size(), picture.parts.size());
    double sum = 0;
    for (const double share : bar.shares) sum += share;
    EXPECT_NEAR(sum, 100, 1e-9);
  }
}

}  // namespace
}  // namespace lockstep
