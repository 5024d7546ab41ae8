// What changes in the course of training.
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
  if (in_epochs(runs)) chart.last_whole_x = chart.high_x;
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

// For curves of which no picture tells the top: from zero, and a tenth above the highest.
void leave_room_above(Chart& chart) {
  double highest = 0;
  for (const Series& series : chart.series) {
    for (const auto& [x, y] : series.points) highest = std::max(highest, y);
  }
  chart.high_y = 1.1 * highest;
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
  const bool classify =
      std::ranges::all_of(runs, [](const Run& run) { return run.history.has_accuracy(); });
  Chart chart = curves("loss", "Loss", classify ? "cross-entropy in nats" : "mean", runs);
  // Other losses may be negative.
  chart.log_y = classify;
  add_learning_curves(
      chart, runs, [](const TrainingRecord& record) { return record.loss; },
      [](const EvaluationRecord& record) { return record.loss; });
  if (!has_points(chart)) return std::nullopt;
  describe(chart, "");
  return chart;
}

std::optional<Chart> metric_chart(std::span<const Run> runs) {
  const std::string& metric = runs[0].history.metric;
  if (metric.empty() ||
      std::ranges::any_of(runs, [&](const Run& run) { return run.history.metric != metric; })) {
    return std::nullopt;
  }
  const bool accuracy = runs[0].history.has_accuracy();
  const double unit = accuracy ? 100 : 1;
  Chart chart = accuracy ? curves("accuracy", "Accuracy", "correct in percent", runs)
                         : curves("metric", metric, "mean", runs);
  add_learning_curves(
      chart, runs, [unit](const TrainingRecord& record) { return unit * record.metric; },
      [unit](const EvaluationRecord& record) { return unit * record.metric; });
  if (!has_points(chart)) return std::nullopt;
  if (!accuracy) {
    describe(chart, "");
    return chart;
  }
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
  leave_room_above(chart);
  describe(chart, "");
  return chart;
}

std::optional<Chart> throughput_chart(std::span<const Run> runs) {
  Chart chart = curves("throughput", "Throughput", "samples per second", runs);
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
  leave_room_above(chart);
  describe(chart, " samples per second");
  return chart;
}

}  // namespace lockstep::report
