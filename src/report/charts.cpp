#include "report/charts.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>

namespace lockstep::report {

namespace {

using Points = std::vector<std::pair<double, double>>;
using Value = std::function<double(const TrainingRecord&)>;

constexpr std::size_t kMostPoints = 240;  // of one curve: more than its picture has room for

// Means of as many neighbours as it takes.
Points thinned(const Points& points) {
  const std::size_t group = (points.size() + kMostPoints - 1) / kMostPoints;
  if (group <= 1) return points;
  Points result;
  for (std::size_t begin = 0; begin < points.size(); begin += group) {
    const std::size_t end = std::min(begin + group, points.size());
    std::pair<double, double> sum{0, 0};
    for (std::size_t i = begin; i < end; ++i) {
      sum.first += points[i].first;
      sum.second += points[i].second;
    }
    const auto size = static_cast<double>(end - begin);
    result.emplace_back(sum.first / size, sum.second / size);
  }
  return result;
}

template <typename Records, typename Take>
Points points_of(const Run& run, const Records& records, Take&& take) {
  Points points;
  for (const auto& record : records) {
    points.emplace_back(position(run.summary, record.step), take(record));
  }
  return points;
}

bool in_epochs(std::span<const Run> runs) {
  return std::ranges::any_of(runs, [](const Run& run) { return run.summary.steps_per_epoch > 0; });
}

// Runs that are still in their first epoch would need another axis than the others.
bool fits(const Run& run, bool epochs) { return (run.summary.steps_per_epoch > 0) == epochs; }

Chart curves(std::string id, std::string title, std::string y_label, std::span<const Run> runs) {
  Chart chart{.id = std::move(id),
              .title = std::move(title),
              .description = {},
              .x_label = in_epochs(runs) ? "epoch" : "step",
              .y_label = std::move(y_label),
              .marks = {},
              .series = {}};
  double last = 1;
  for (const Run& run : runs) last = std::max(last, position(run.summary, run.summary.last_step));
  chart.high_x = in_epochs(runs) ? std::ceil(last) : last;
  chart.whole_x = in_epochs(runs);
  if (runs.size() > 1) return chart;
  for (const DecisionRecord& decision : runs[0].history.decisions) {
    if (decision.rate_after == decision.rate_before) continue;
    const double x = position(runs[0].summary, decision.step);
    // Nothing was trained at what the last decision set.
    if (x < chart.high_x) chart.marks.push_back({x, decision.rate_after});
  }
  return chart;
}

bool has_points(const Chart& chart) {
  return std::ranges::any_of(chart.series, [](const Series& series) {
    return std::ranges::any_of(series.points,
                               [](const auto& point) { return std::isfinite(point.second); });
  });
}

void add(Chart& chart, std::string label, Series::Style style, int color, Points points) {
  if (points.empty()) return;
  chart.series.push_back({.label = std::move(label),
                          .style = style,
                          .color = color,
                          .points = std::move(points),
                          .boxes = {}});
}

// Training faint by window, and validation; of one run also training by epoch.
void add_learning_curves(Chart& chart, std::span<const Run> runs, const Value& training,
                         const std::function<double(const EvaluationRecord&)>& validation) {
  const bool several = runs.size() > 1;
  int color = 0;
  for (const Run& run : runs) {
    const History& history = run.history;
    if (fits(run, in_epochs(runs))) {
      if (several) {
        const auto& records = history.epochs.empty() ? history.steps : history.epochs;
        add(chart, "", Series::Style::kFaint, color, points_of(run, records, training));
        add(chart, run.label, Series::Style::kMarked, color,
            points_of(run, history.validations, validation));
      } else {
        add(chart, "training, by window", Series::Style::kFaint, 0,
            thinned(points_of(run, history.steps, training)));
        add(chart, "training, by epoch", Series::Style::kMarked, 0,
            points_of(run, history.epochs, training));
        add(chart, "validation", Series::Style::kMarked, 1,
            points_of(run, history.validations, validation));
      }
    }
    ++color;
  }
}

std::string last_value(const Series& series, const char* unit) {
  return fmt::format("{} {:.4g}{} at the end", series.label, series.points.back().second, unit);
}

void describe(Chart& chart, const char* unit) {
  std::string values;
  for (const Series& series : chart.series) {
    if (series.label.empty() || series.style == Series::Style::kFaint) continue;
    values += (values.empty() ? "" : "; ") + last_value(series, unit);
  }
  chart.description = fmt::format("Against the {}. {}.", chart.x_label, values);
  for (const Mark& mark : chart.marks) {
    chart.description += fmt::format(" The learning rate becomes {} after {} {:.4g}.", mark.value,
                                     chart.x_label, mark.x);
  }
}

}  // namespace

std::optional<Chart> loss_chart(std::span<const Run> runs) {
  Chart chart = curves("loss", "Loss", "cross-entropy in nats", runs);
  chart.log_y = true;
  add_learning_curves(
      chart, runs, [](const TrainingRecord& record) { return record.loss; },
      [](const EvaluationRecord& record) { return record.loss; });
  if (!has_points(chart)) return std::nullopt;
  describe(chart, "");
  return chart;
}

std::optional<Chart> accuracy_chart(std::span<const Run> runs) {
  Chart chart = curves("accuracy", "Accuracy", "correct in percent", runs);
  add_learning_curves(
      chart, runs, [](const TrainingRecord& record) { return 100 * record.accuracy; },
      [](const EvaluationRecord& record) { return 100 * record.accuracy; });
  if (!has_points(chart)) return std::nullopt;
  chart.marks_below = true;  // the curves end at the top
  // What is by epoch fills the picture; the first windows of a run, far below, may leave it.
  double lowest = 100;
  for (const Series& series : chart.series) {
    if (series.style != Series::Style::kMarked) continue;
    for (const auto& [x, y] : series.points) lowest = std::min(lowest, y);
  }
  if (lowest < 100) {
    chart.low_y = std::max(0.0, 100 - 1.15 * (100 - lowest));
    chart.high_y = 100;
  }
  describe(chart, " %");
  return chart;
}

std::optional<Chart> rate_chart(std::span<const Run> runs) {
  Chart chart = curves("learning-rate", "Learning rate", "learning rate", runs);
  chart.marks.clear();
  int color = 0;
  for (const Run& run : runs) {
    if (fits(run, in_epochs(runs))) {
      Points points =
          points_of(run, run.history.steps, std::mem_fn(&TrainingRecord::learning_rate));
      const Points ends =
          points_of(run, run.history.epochs, std::mem_fn(&TrainingRecord::learning_rate));
      points.insert(points.end(), ends.begin(), ends.end());
      std::ranges::sort(points);
      if (!points.empty()) points.insert(points.begin(), {0, points[0].second});
      add(chart, runs.size() > 1 ? run.label : "learning rate", Series::Style::kSteps, color,
          thinned(points));
    }
    ++color;
  }
  if (!has_points(chart)) return std::nullopt;
  double highest = 0;
  for (const Series& series : chart.series) {
    for (const auto& [x, y] : series.points) highest = std::max(highest, y);
  }
  chart.high_y = 1.1 * highest;
  describe(chart, "");
  return chart;
}

std::optional<Chart> throughput_chart(std::span<const Run> runs) {
  Chart chart = curves("throughput", "Throughput", "images per second", runs);
  chart.marks.clear();
  int color = 0;
  for (const Run& run : runs) {
    if (fits(run, in_epochs(runs))) {
      const auto speed = std::mem_fn(&TrainingRecord::samples_per_second);
      if (runs.size() == 1) {
        add(chart, "by window", Series::Style::kFaint, 0,
            thinned(points_of(run, run.history.steps, speed)));
      }
      add(chart, runs.size() > 1 ? run.label : "by epoch", Series::Style::kMarked, color,
          points_of(run, run.history.epochs, speed));
    }
    ++color;
  }
  if (!has_points(chart)) return std::nullopt;
  double highest = 0;
  for (const Series& series : chart.series) {
    for (const auto& [x, y] : series.points) highest = std::max(highest, y);
  }
  chart.high_y = 1.1 * highest;
  describe(chart, " images per second");
  return chart;
}

Chart reliability_chart(const Calibration& calibration) {
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
  Points means;
  for (const CalibrationBin& bin : calibration.bins) {
    if (bin.samples == 0) continue;
    const double gap = 0.06 * (bin.high - bin.low);
    boxes.boxes.push_back({bin.low + gap, bin.high - gap, 0, bin.accuracy});
    chart.description += fmt::format("{:.2f} to {:.2f}: {} images, {:.1f} % right. ", bin.low,
                                     bin.high, bin.samples, 100 * bin.accuracy);
  }
  chart.series.push_back(std::move(boxes));
  add(chart, "perfect calibration", Series::Style::kDotted, 0, {{0, 0}, {1, 1}});
  return chart;
}

Chart confidence_chart(const Calibration& calibration) {
  Chart chart{.id = "confidence",
              .title = "How sure it was",
              .description =
                  "Number of images by probability of the prediction, on a logarithmic "
                  "scale; the table below has the numbers.",
              .x_label = "probability of the prediction",
              .y_label = "images",
              .log_y = true,
              .high_x = 1,
              .marks = {},
              .series = {}};
  Series boxes{.label = "images in the bin",
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
              .whole_x = true,
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
  return chart;
}

Chart time_chart(const Summary& summary) {
  Chart chart{.id = "time",
              .title = "Share of each phase",
              .description = {},
              .x_label = "rank",
              .y_label = "percent of its time",
              .whole_x = true,
              .high_y = 100,
              .marks = {},
              .series = {}};
  const std::size_t ranks = std::min(summary.by_rank.size(), kMostRanksShown);
  for (std::size_t phase = 0; phase < kPhases.size(); ++phase) {
    Series series{.label = std::string(kPhases[phase]),
                  .style = Series::Style::kBoxes,
                  .color = static_cast<int>(phase),
                  .points = {},
                  .boxes = {}};
    for (std::size_t rank = 0; rank < ranks; ++rank) {
      const PhaseTimes& times = summary.by_rank[rank];
      const double whole = total(times);
      if (whole <= 0) continue;
      double below = 0;
      for (std::size_t p = 0; p < phase; ++p) below += times[p];
      const auto x = static_cast<double>(rank);
      series.boxes.push_back(
          {x - 0.35, x + 0.35, 100 * below / whole, 100 * (below + times[phase]) / whole});
      chart.description +=
          fmt::format("Rank {}, {}: {:.1f} %. ", rank, kPhases[phase], 100 * times[phase] / whole);
    }
    chart.series.push_back(std::move(series));
  }
  // A column alone would be as wide as the picture.
  const double margin = std::max(0.7, 2 - 0.5 * static_cast<double>(ranks));
  chart.low_x = -margin;
  chart.high_x = static_cast<double>(ranks) - 1 + margin;
  if (ranks > 8) chart.description = "By phase and rank; the table has the numbers.";
  return chart;
}

}  // namespace lockstep::report
