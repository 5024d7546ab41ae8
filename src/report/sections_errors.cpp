// Where a run is wrong: confusion matrix, the worst errors, scores by class, calibration.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "lockstep/base/error.h"
#include "lockstep/data/load.h"
#include "report/html.h"
#include "report/page.h"
#include "report/png.h"

namespace lockstep::report {

namespace {

constexpr std::size_t kMostMistakes = 24;

std::string whose(const Run& run) {
  const EvaluationRecord& judged = *run.summary.judged;
  if (run.summary.split == "test") {
    return fmt::format("the {} test {}", count(judged.samples), run.history.samples_name());
  }
  return fmt::format("the {} validation {}, after epoch {}", count(judged.samples),
                     run.history.samples_name(), judged.epoch);
}

// At the head of a sentence or a column.
const char* samples_title(const Run& run) { return run.history.of_images() ? "Images" : "Samples"; }

// On a logarithmic scale from one sample to the most frequent confusion.
double shade(std::int64_t samples, std::int64_t most) {
  if (samples == 0 || most == 0) return 0;
  return std::log1p(static_cast<double>(samples)) / std::log1p(static_cast<double>(most));
}

std::int64_t most_confused(const Confusion& confusion) {
  std::int64_t most = 0;
  for (std::size_t i = 0; i < confusion.size(); ++i) {
    for (std::size_t j = 0; j < confusion.size(); ++j) {
      if (i != j) most = std::max(most, confusion[i][j]);
    }
  }
  return most;
}

Cell confusion_cell(std::int64_t samples, std::int64_t row_sum, bool right, std::int64_t most) {
  if (samples == 0) return {"<span class=\"nothing\">·</span>", right ? " class=\"right\"" : ""};
  const double share = static_cast<double>(samples) / static_cast<double>(row_sum);
  const std::string shown = 100 * share >= 99.95 ? "100" : fmt::format("{:.1f}", 100 * share);
  const std::string color =
      right ? std::string(" class=\"right\"")
            : fmt::format(" class=\"wrong\" style=\"--shade:{:.2f}\"", shade(samples, most));
  return {fmt::format("<data value=\"{0}\">{0}</data><small><data value=\"{1}\">{2}</data></small>",
                      samples, share, shown),
          color};
}

// The data the mistakes lie in, or why they are not there.
ImageSource::Found find_images(const Run& run, ImageSource& images) {
  const History& history = run.history;
  if (history.launches.empty()) return {.problem = "launch.json is not there"};
  const Launch& launch = history.launches.back();
  DataOptions options;
  options.data = history.setting("data");
  options.test_data = history.setting("test-data");
  if (run.summary.split == "validation") {
    return images.find(launch.data_sha256, [&] { return load_training(options); });
  }
  return images.find(launch.test_sha256, [&] {
    auto test = load_test(options);
    if (!test) fail(ExitCode::kInputMissing, "{}: has no test data", options.data.string());
    return std::move(*test);
  });
}

std::string picture(const Dataset& dataset, const Mistake& mistake, const std::string& split) {
  return fmt::format(
      "<img src=\"data:image/png;base64,{}\" width=\"{}\" height=\"{}\" alt=\"{} image {}: label "
      "{}, taken for {}\">",
      base64(encode_png(dataset, mistake.sample)), dataset.width, dataset.height,
      split == "test" ? "Test" : "Training", mistake.sample, mistake.label, mistake.predicted);
}

}  // namespace

std::string confusion_section(const Run& run) {
  if (run.summary.judged == nullptr || run.summary.judged->confusion.empty()) return "";
  const Confusion& confusion = run.summary.judged->confusion;
  const std::int64_t most = most_confused(confusion);
  std::vector<std::string> head{"<span class=\"sr\">label</span>"};
  std::vector<std::vector<Cell>> rows;
  for (std::size_t label = 0; label < confusion.size(); ++label) {
    head.push_back(std::to_string(label));
    std::vector<Cell> row{{std::to_string(label)}};
    for (std::size_t predicted = 0; predicted < confusion.size(); ++predicted) {
      row.push_back(confusion_cell(confusion[label][predicted], run.summary.classes[label].samples,
                                   label == predicted, most));
    }
    rows.push_back(std::move(row));
  }
  std::string caption = fmt::format(
      "Rows: the label. Columns: what it was taken for. {}, and below them percent of the row.",
      samples_title(run));
  if (most > 0) {
    caption += fmt::format(" Errors are shaded on a logarithmic scale, from 1 to {}.", count(most));
  }
  return section(
      "confusion", "Confusion matrix",
      fmt::format("<p>Of {}.</p>\n", whose(run)) + table(caption, head, rows, "confusion"));
}

std::string mistake_section(const Run& run, ImageSource& images, std::string& problem) {
  if (run.summary.predictions == nullptr) return "";
  const std::vector<Mistake> mistakes = worst_mistakes(*run.summary.predictions, kMostMistakes);
  const std::string title = "The most confident errors";
  if (mistakes.empty()) {
    return section("errors", title, fmt::format("<p>None: all of {} are right.</p>\n", whose(run)));
  }
  ImageSource::Found found;
  if (run.history.of_images()) found = find_images(run, images);
  if (found.dataset != nullptr) {
    const Dataset& dataset = *found.dataset;
    const bool drawable = dataset.channels == 1 || dataset.channels == 3;
    if (!drawable || std::ranges::any_of(mistakes, [&](const Mistake& mistake) {
          return mistake.sample >= dataset.count;
        })) {
      found = {.dataset = nullptr, .problem = "the predictions are of other data"};
    }
  }
  std::string content = fmt::format(
      "<p>Of {}: the {} with the largest gap between the probability of the prediction and that of "
      "the label.</p>\n",
      whose(run), count(static_cast<std::int64_t>(mistakes.size())));
  if (run.history.of_images() && found.dataset == nullptr) {
    problem = "The images cannot be shown: " + found.problem;
    content += fmt::format("<p class=\"note\">{}.</p>\n", escape(problem));
  }
  content += "<ul class=\"mistakes\">\n";
  for (const Mistake& mistake : mistakes) {
    content += fmt::format(
        "<li>{}<dl><div><dt>label <b>{}</b></dt><dd>{}</dd></div><div><dt>taken for "
        "<b>{}</b></dt><dd>{}</dd></div></dl><p class=\"quiet\">{} {}</p></li>\n",
        found.dataset == nullptr ? "" : picture(*found.dataset, mistake, run.summary.split),
        mistake.label, percent(mistake.label_probability, 1), mistake.predicted,
        percent(mistake.predicted_probability, 1), run.history.of_images() ? "image" : "sample",
        mistake.sample);
  }
  return section("errors", title, content + "</ul>\n");
}

std::string class_section(const Run& run) {
  if (run.summary.judged == nullptr || run.summary.judged->confusion.empty()) return "";
  std::vector<std::vector<Cell>> rows;
  const auto& classes = run.summary.classes;
  for (std::size_t c = 0; c < classes.size(); ++c) {
    const ClassScores& score = classes[c];
    rows.push_back({{std::to_string(c)},
                    {percent_or_dash(score.precision)},
                    {percent_or_dash(score.recall)},
                    {percent_or_dash(score.f1)},
                    {count(score.samples)},
                    {count(score.samples - score.correct)},
                    {count(score.predicted - score.correct)}});
  }
  return section(
      "by-class", "By class",
      fmt::format("<p>Of {0}. Precision: of the {1} taken for the class, those that are. Recall: "
                  "of the {1} of the class, those that were taken for it. F1: their harmonic "
                  "mean.</p>\n",
                  whose(run), run.history.samples_name()) +
          table("",
                {"Class", "Precision", "Recall", "F1", samples_title(run), "Missed",
                 "Wrongly taken for it"},
                rows, "numbers"));
}

std::string calibration_section(const Run& run, Figures& figures) {
  if (!run.summary.calibration) return "";
  const Calibration& calibration = *run.summary.calibration;
  std::vector<std::vector<Cell>> rows;
  for (const CalibrationBin& bin : calibration.bins) {
    if (bin.samples == 0) continue;
    rows.push_back({{fmt::format("{:.3f} to {:.3f}", bin.low, bin.high)},
                    {count(bin.samples)},
                    {percent(bin.confidence)},
                    {percent(bin.accuracy)}});
  }
  const std::string text = fmt::format(
      "<p>Of {}. On average the network gave its prediction a probability of {} and was right in "
      "{} "
      "of the cases. Expected calibration error, over {} bins of equal width: <b "
      "data-key=\"calibration\">{}</b>.</p>\n",
      whose(run), percent(calibration.confidence), percent(run.summary.judged->metric),
      kCalibrationBins, percent(calibration.expected_error));
  return section(
      "calibration", "Calibration",
      text +
          figure_grid({figures.draw(reliability_chart(calibration, run.history.samples_name())),
                       figures.draw(confidence_chart(calibration, run.history.samples_name()))}) +
          table("", {"Probability", samples_title(run), "Mean probability", "Right"}, rows,
                "numbers"));
}

}  // namespace lockstep::report
