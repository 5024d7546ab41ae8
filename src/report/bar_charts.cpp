// What can be counted: calibration, classes, time.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "report/charts.h"

namespace lockstep::report {

Chart reliability_chart(const Calibration& calibration, const std::string& samples) {
  Chart chart{.id = "reliability",
              .title = "Reliability",
              .description = {},
              .x_label = "probability of the prediction",
              .y_label = "share that is right",
              .high_x = 1,
              .high_y = 1,
              .marks = {},
              .series = {}};
  Series boxes{.label = "accuracy in the bin",
               .style = Series::Style::kPaleBoxes,
               .points = {},
               .boxes = {}};
  for (const CalibrationBin& bin : calibration.bins) {
    if (bin.samples == 0) continue;
    const double gap = 0.06 * (bin.high - bin.low);
    boxes.boxes.push_back({bin.low + gap, bin.high - gap, 0, bin.accuracy});
    chart.description += fmt::format("{:.2f} to {:.2f}: {} {}, {:.1f} % right. ", bin.low, bin.high,
                                     bin.samples, samples, 100 * bin.accuracy);
  }
  chart.series.push_back(std::move(boxes));
  chart.series.push_back({.label = "perfect calibration",
                          .style = Series::Style::kDotted,
                          .points = {{0, 0}, {1, 1}},
                          .boxes = {}});
  return chart;
}

Chart confidence_chart(const Calibration& calibration, const std::string& samples) {
  Chart chart{
      .id = "confidence",
      .title = "How sure it was",
      .description = fmt::format("Number of {} by probability of the prediction, on a logarithmic "
                                 "scale; the table below has the numbers.",
                                 samples),
      .x_label = "probability of the prediction",
      .y_label = samples,
      .log_y = true,
      .high_x = 1,
      .marks = {},
      .series = {}};
  Series boxes{.label = samples + " in the bin",
               .style = Series::Style::kBoxes,
               .color = 2,
               .points = {},
               .boxes = {}};
  double most = 1;
  for (const CalibrationBin& bin : calibration.bins) {
    if (bin.samples == 0) continue;
    const double gap = 0.06 * (bin.high - bin.low);
    const auto samples = static_cast<double>(bin.samples);
    boxes.boxes.push_back({bin.low + gap, bin.high - gap, 0.5, samples});
    most = std::max(most, samples);
  }
  chart.low_y = 0.5;
  chart.high_y = 2 * most;
  chart.series.push_back(std::move(boxes));
  return chart;
}

Chart class_chart(const std::vector<SplitFacts>& splits) {
  Chart chart{.id = "classes",
              .title = "Share of each class",
              .description = "Share of each class in each split; the table has the numbers.",
              .x_label = "class",
              .y_label = "percent of the split",
              .marks = {},
              .series = {}};
  std::vector<const SplitFacts*> shown;
  for (const SplitFacts& split : splits) {
    if (split.samples > 0) shown.push_back(&split);
  }
  double classes = 1;
  const double width = 0.8 / static_cast<double>(std::max<std::size_t>(shown.size(), 1));
  for (std::size_t i = 0; i < shown.size(); ++i) {
    Series series{.label = shown[i]->name,
                  .style = Series::Style::kBoxes,
                  .color = static_cast<int>(i),
                  .points = {},
                  .boxes = {}};
    for (std::size_t c = 0; c < shown[i]->class_counts.size(); ++c) {
      const double left = static_cast<double>(c) - 0.4 + static_cast<double>(i) * width;
      const double share = 100 * static_cast<double>(shown[i]->class_counts[c]) /
                           static_cast<double>(shown[i]->samples);
      series.boxes.push_back({left, left + 0.9 * width, 0, share});
      chart.high_y = std::max(chart.high_y, 1.1 * share);
      classes = std::max(classes, static_cast<double>(c + 1));
    }
    chart.series.push_back(std::move(series));
  }
  chart.low_x = -0.7;
  chart.high_x = classes - 0.3;
  chart.last_whole_x = classes - 1;
  return chart;
}

Chart pixel_chart(const std::vector<PixelCounts>& parts) {
  constexpr std::size_t kValues = 8;  // a box
  Chart chart{.id = "pixel-values",
              .title = "Share of pixel values",
              .description = {},
              .x_label = "pixel value",
              .y_label = "percent of the pixels",
              .log_y = true,
              .high_x = 256,
              .low_y = 100,
              .high_y = 200,
              .marks = {},
              .series = {}};
  const double width = static_cast<double>(kValues) / static_cast<double>(parts.size());
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const auto& histogram = parts[i].histogram;
    const auto all =
        static_cast<double>(std::accumulate(histogram.begin(), histogram.end(), std::int64_t{0}));
    Series series{.label = parts[i].name,
                  .style = Series::Style::kBoxes,
                  .color = static_cast<int>(i),
                  .points = {},
                  .boxes = {}};
    for (std::size_t value = 0; value < histogram.size(); value += kValues) {
      const auto begin = histogram.begin() + static_cast<std::ptrdiff_t>(value);
      const auto pixels = std::accumulate(begin, begin + kValues, std::int64_t{0});
      if (pixels == 0) continue;
      const double share = 100 * static_cast<double>(pixels) / all;
      const double left = static_cast<double>(value) + static_cast<double>(i) * width;
      series.boxes.push_back({left + 0.1 * width, left + 0.9 * width, 0, share});
      chart.low_y = std::min(chart.low_y, share / 2);
    }
    const auto& boxes = series.boxes;
    const auto most = std::ranges::max_element(boxes, {}, &Box::top);
    chart.description += fmt::format(
        "{}: from {:.0f} on, {} values make up {:.1f} % of the pixels, more than any others. ",
        parts[i].name, most->left - 0.1 * width - static_cast<double>(i) * width, kValues,
        most->top);
    chart.series.push_back(std::move(series));
  }
  // A logarithmic scale has no 0.
  for (Series& series : chart.series) {
    for (Box& box : series.boxes) box.bottom = chart.low_y;
  }
  return chart;
}

// Columns at 0, 1, ... or 1, 2, ..., the phases on top of one another.
void add_phases(Chart& chart, const std::vector<PhaseTimes>& columns, double first_x) {
  for (std::size_t phase = 0; phase < kPhases.size(); ++phase) {
    Series series{.label = std::string(kPhases[phase]),
                  .style = Series::Style::kBoxes,
                  .color = static_cast<int>(phase),
                  .points = {},
                  .boxes = {}};
    double x = first_x;
    for (const PhaseTimes& times : columns) {
      double below = 0;
      for (std::size_t p = 0; p < phase; ++p) below += times[p];
      series.boxes.push_back({x - 0.35, x + 0.35, below, below + times[phase]});
      x += 1;
    }
    chart.series.push_back(std::move(series));
  }
  // A column alone would be as wide as the picture.
  const auto last_x = first_x + static_cast<double>(columns.size()) - 1;
  const double margin = std::max(0.7, 2 - 0.5 * static_cast<double>(columns.size()));
  chart.low_x = first_x - margin;
  chart.high_x = last_x + margin;
  chart.last_whole_x = last_x;
}

Chart time_chart(const Summary& summary) {
  Chart chart{.id = "time",
              .title = "Share of each phase",
              .description = {},
              .x_label = "rank",
              .y_label = "percent of its time",
              .high_y = 100,
              .marks = {},
              .series = {}};
  std::vector<PhaseTimes> shares;
  for (const PhaseTimes& times : summary.by_rank) {
    if (shares.size() == kMostRanksShown) break;
    PhaseTimes share = times;
    const double whole = total(times);
    for (double& part : share) part = whole > 0 ? 100 * part / whole : 0;
    shares.push_back(share);
  }
  add_phases(chart, shares, 0);
  if (shares.size() > 8) {
    chart.description = "By phase and rank; the table has the numbers.";
    return chart;
  }
  for (std::size_t rank = 0; rank < shares.size(); ++rank) {
    for (std::size_t phase = 0; phase < kPhases.size(); ++phase) {
      chart.description +=
          fmt::format("Rank {}, {}: {:.1f} %. ", rank, kPhases[phase], shares[rank][phase]);
    }
  }
  return chart;
}

std::optional<Chart> epoch_time_chart(const History& history) {
  if (history.epochs.empty() || history.epochs.size() > kMostEpochsShown) return std::nullopt;
  Chart chart{.id = "epoch-time",
              .title = "Time of each epoch",
              .description =
                  "The root's seconds by phase, epoch by epoch; another table has the "
                  "whole time of each.",
              .x_label = "epoch",
              .y_label = "seconds",
              .marks = {},
              .series = {}};
  std::vector<PhaseTimes> columns;
  for (const TrainingRecord& epoch : history.epochs) {
    columns.push_back(epoch.seconds);
    chart.high_y = std::max(chart.high_y, 1.1 * total(epoch.seconds));
  }
  add_phases(chart, columns, static_cast<double>(history.epochs.front().epoch));
  return chart;
}

}  // namespace lockstep::report
