// The parts of a page.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lockstep/report/report.h"
#include "report/charts.h"
#include "report/summary.h"

namespace lockstep::report {

/// Draws charts while a page is made; what fails is told once.
class Figures {
 public:
  Figures(std::string gnuplot, std::function<void()> progress)
      : gnuplot_(std::move(gnuplot)), progress_(std::move(progress)) {}

  /// <figure> with legend and drawing; without gnuplot a line that says that it is missing.
  std::string draw(const Chart& chart);
  /// Empty, or why there are no drawings.
  const std::string& problem() const { return problem_; }
  /// The problem as the page and the program say it.
  std::string remark() const {
    return "The pictures are missing, the tables are all there: " + problem_;
  }

 private:
  std::string gnuplot_;
  std::function<void()> progress_;
  std::string problem_;
};

/// A value of the run's metric: an accuracy in percent, another one as a number. HTML.
std::string metric_value(const Run& run, double value);
/// "accuracy", escaped; empty: the run has no metric.
std::string metric_name(const Run& run);

/// Several figures side by side, where there is room.
std::string figure_grid(const std::vector<std::string>& figures);
/// How often each class occurs in each split: a chart and a table.
std::string class_figure(const std::vector<SplitFacts>& splits, Figures& figures);
/// Boxes that stand out, a text each.
std::string remark_boxes(const std::vector<std::string>& remarks);
/// One of the numbers at the head of a page; all but `key` is HTML.
std::string tile(const std::string& key, const std::string& name, const std::string& value,
                 const std::string& remark);

// Sections of a page of one run, in order. Empty where there is nothing to say.
std::string headline(const Run& run);
std::string curve_section(std::span<const Run> runs, Figures& figures);
std::string epoch_section(const Run& run);
std::string confusion_section(const Run& run);
/// `problem`: why there are no images, if there are none.
std::string mistake_section(const Run& run, ImageSource& images, std::string& problem);
std::string class_section(const Run& run);
std::string calibration_section(const Run& run, Figures& figures);
std::string frequency_section(const Run& run, Figures& figures);
std::string time_section(const Run& run, Figures& figures);
std::string decision_section(const Run& run);
std::string settings_section(const Run& run);

// Sections of a page of several runs.
std::string comparison_headline(std::span<const Run> runs);
std::string result_section(std::span<const Run> runs);
std::string difference_section(std::span<const Run> runs);
std::string decisions_section(std::span<const Run> runs);

/// "vm (ranks 0 to 3, 5), other (rank 4)", escaped: each host once.
std::string host_text(const std::vector<std::string>& hosts);
/// Of decisions.jsonl: "epoch 9: no gain for 3 epochs, learning rate 0.001 -> 0.0005", escaped.
std::string decision_text(const DecisionRecord& decision);

/// The whole document. `title` and `footer` are text, `body` HTML.
std::string document(const std::string& title, const std::string& body, const std::string& footer,
                     double refresh_seconds = 0);
/// Its style sheet.
std::string_view style_sheet();

}  // namespace lockstep::report
