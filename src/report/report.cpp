// From run directories to a page.
#include "lockstep/report/report.h"

#include <fmt/format.h>

#include <algorithm>

#include "lockstep/base/error.h"
#include "report/html.h"
#include "report/page.h"

namespace lockstep {

void ImageSource::provide(const std::string& sha256, const Dataset& dataset) {
  known_[sha256] = &dataset;
}

ImageSource::Found ImageSource::find(const std::string& sha256,
                                     const std::function<Dataset()>& load) {
  if (const auto known = known_.find(sha256); known != known_.end()) {
    return {.dataset = known->second, .problem = ""};
  }
  try {
    auto dataset = std::make_unique<Dataset>(load());
    if (const std::string found = dataset->sha256(); found != sha256) {
      return {.dataset = nullptr,
              .problem = fmt::format("{}: its SHA-256 is {}, the run had {}", dataset->source,
                                     found, sha256)};
    }
    known_[sha256] = read_.emplace_back(std::move(dataset)).get();
    return {.dataset = known_[sha256], .problem = ""};
  } catch (const Error& error) {
    return {.dataset = nullptr, .problem = error.what()};
  }
}

namespace report {

namespace {

const char* legend_class(const Series& series) {
  switch (series.style) {
    case Series::Style::kBoxes:
      return "box";
    case Series::Style::kPaleBoxes:
      return "box pale";
    case Series::Style::kFaint:
      return "faint";
    case Series::Style::kDotted:
      return "dotted";
    default:
      return series.color >= kColors ? "again" : "line";
  }
}

std::string legend_entry(const Series& series) {
  if (series.label.empty()) return "";
  const std::string color = series.style == Series::Style::kDotted
                                ? std::string("ink-2")
                                : fmt::format("c{}", series.color % kColors);
  return fmt::format("<span><i class=\"{}\" style=\"--k:var(--{})\"></i>{}</span>",
                     legend_class(series), color, escape(series.label));
}

}  // namespace

std::string Figures::draw(const Chart& chart) {
  std::string legend;
  for (const Series& series : chart.series) legend += legend_entry(series);
  std::string drawing;
  if (problem_.empty()) {
    try {
      drawing =
          inline_svg(run_gnuplot(gnuplot_, gnuplot_script(chart), kMostSeconds, progress_), chart);
    } catch (const Error& error) {
      problem_ = error.what();
    }
  }
  if (drawing.empty()) drawing = "<p class=\"note\">No picture: see the remark at the top.</p>";
  return fmt::format("<figure><figcaption>{}</figcaption><p class=\"legend\">{}</p>{}</figure>\n",
                     escape(chart.title), legend, drawing);
}

std::string figure_grid(const std::vector<std::string>& figures) {
  std::string text = "<div class=\"figures\">\n";
  for (const std::string& figure : figures) text += figure;
  return text + "</div>\n";
}

std::string remark_boxes(const std::vector<std::string>& remarks) {
  std::string text;
  for (const std::string& remark : remarks) {
    text += fmt::format("<p class=\"note\">{}</p>\n", escape(remark));
  }
  return text;
}

namespace {

constexpr const char* kFooter =
    "Every number is that of the run's metrics.jsonl, decisions.jsonl and predictions, or computed "
    "of them; the exact value is in the element's attribute.";

std::string single_page(const Run& run, Figures& figures, ImageSource& images,
                        std::vector<std::string>& warnings) {
  std::string problem;
  const std::string mistakes = mistake_section(run, images, problem);
  if (!problem.empty()) warnings.push_back(problem);
  return curve_section({&run, 1}, figures) + confusion_section(run) + mistakes +
         class_section(run) + calibration_section(run, figures) + epoch_section(run) +
         decision_section(run) + time_section(run, figures) + frequency_section(run, figures) +
         settings_section(run);
}

std::string comparison_page(std::span<const Run> runs, Figures& figures) {
  return result_section(runs) + curve_section(runs, figures) + difference_section(runs) +
         decisions_section(runs);
}

// Names of directories, or whole paths where names are the same.
void set_labels(std::vector<Run>& runs) {
  for (Run& run : runs) run.label = run.history.name();
  std::vector<std::string> names;
  names.reserve(runs.size());
  for (const Run& run : runs) names.push_back(run.label);
  for (Run& run : runs) {
    if (std::ranges::count(names, run.label) > 1) run.label = run.history.directory.string();
  }
}

Report assembled(std::span<const std::filesystem::path> directories, const ReportOptions& options) {
  LOCKSTEP_CHECK(!directories.empty() && directories.size() <= kMostRuns, "{} runs",
                 directories.size());
  Report result;
  std::vector<Run> runs(directories.size());  // of fixed size: summaries point into histories
  for (std::size_t i = 0; i < runs.size(); ++i) {
    runs[i].history = read_history(directories[i]);
    runs[i].summary = summarise(runs[i].history);
    result.running = result.running || runs[i].history.status == Status::kRunning;
    for (const std::string& note : runs[i].history.notes) {
      result.warnings.push_back(
          runs.size() == 1 ? note : fmt::format("{}: {}", directories[i].string(), note));
    }
  }
  set_labels(runs);

  ImageSource own;
  Figures figures(options.gnuplot, options.progress);
  const bool single = runs.size() == 1;
  const std::string sections =
      single ? single_page(runs[0], figures, options.images != nullptr ? *options.images : own,
                           result.warnings)
             : comparison_page(runs, figures);
  if (!figures.problem().empty()) {
    result.warnings.push_back(figures.remark());
  }
  const std::string title = single ? runs[0].label : fmt::format("{} runs compared", runs.size());
  result.html = document(title,
                         (single ? headline(runs[0]) : comparison_headline(runs)) +
                             remark_boxes(result.warnings) + sections,
                         kFooter, result.running ? options.refresh_seconds : 0);
  return result;
}

}  // namespace

}  // namespace report

Report make_report(std::span<const std::filesystem::path> directories,
                   const ReportOptions& options) {
  return report::assembled(directories, options);
}

}  // namespace lockstep
