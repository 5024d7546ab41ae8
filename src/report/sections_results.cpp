// What a run has reached: headline, curves, epochs, decisions.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "lockstep/base/text.h"
#include "report/html.h"
#include "report/page.h"

namespace lockstep::report {

namespace {

// Whole samples a second, where there are that many.
std::string rate_text(double rate) {
  if (!(rate >= 100)) return number(rate, 3);
  return fmt::format("<data value=\"{}\">{}</data>", rate, format_count(std::llround(rate)));
}

std::string lead(const Run& run) {
  const Summary& summary = run.summary;
  if (summary.judged == nullptr) {
    return "There is no evaluation yet: it comes at the end of an epoch.";
  }
  if (summary.judged->confusion.empty()) {
    const std::string metric = run.history.metric.empty()
                                   ? ""
                                   : fmt::format(", the {} {}", metric_name(run),
                                                 metric_value(run, summary.judged->metric));
    return fmt::format("The {} loss is {}{}, over {} samples.", summary.split,
                       number(summary.judged->loss), metric, count(summary.judged->samples));
  }
  return fmt::format("{} of the {} {} {} are classified right, {} wrong.",
                     percent(summary.judged->metric), count(summary.judged->samples), summary.split,
                     run.history.samples_name(), count(summary.errors));
}

std::string metric_tile(const Run& run, const std::string& key, const std::string& split,
                        const EvaluationRecord& record, const std::string& remark) {
  if (run.history.metric.empty()) return "";
  return tile(key + (run.history.has_accuracy() ? ".accuracy" : ".metric"),
              split + " " + metric_name(run), metric_value(run, record.metric), remark);
}

std::string loss_kind(const Run& run) {
  return run.history.has_accuracy() ? "mean cross-entropy, nats" : "mean over the samples";
}

std::string tiles(const Run& run) {
  const Summary& summary = run.summary;
  const History& history = run.history;
  std::string text;
  if (history.test) {
    std::string whose;
    if (history.test_predictions) {
      const std::int64_t step = history.test_predictions->weights_step;
      whose = summary.best != nullptr && summary.best->step == step
                  ? fmt::format("weights of epoch {}, the best", summary.best->epoch)
                  : fmt::format("weights of step {}", format_count(step));
    }
    text += metric_tile(run, "test", "Test", *history.test, whose);
    if (!history.test->confusion.empty()) {
      text += tile("test.errors", "Test errors", count(summary.errors),
                   fmt::format("of {} {}", count(history.test->samples), history.samples_name()));
    }
    text += tile("test.loss", "Test loss", number(history.test->loss), loss_kind(run));
  }
  if (summary.best != nullptr) {
    const auto of = fmt::format("in epoch {}, the best", count(summary.best->epoch));
    text += metric_tile(run, "best", "Validation", *summary.best, of);
    text += tile("best.loss", "Validation loss", number(summary.best->loss), of);
  }
  if (summary.calibration) {
    text +=
        tile("calibration.error", "Calibration error", percent(summary.calibration->expected_error),
             fmt::format("expected, on the {} {}", summary.split, history.samples_name()));
  }
  if (summary.throughput) {
    const std::size_t ranks = history.launches.empty() ? 0 : history.launches.back().hosts.size();
    text += tile(
        "throughput", "Throughput", rate_text(*summary.throughput),
        ranks == 0 ? "samples per second"
                   : fmt::format("samples per second on {} rank{}", ranks, ranks == 1 ? "" : "s"));
    text += tile("training.seconds", "Training time", duration(summary.training_seconds),
                 fmt::format("{} epoch{}, without validation", history.epochs.size(),
                             history.epochs.size() == 1 ? "" : "s"));
  }
  return text.empty() ? "" : "<dl class=\"tiles\">\n" + text + "</dl>\n";
}

// "rank 3", "ranks 0 to 2, 4".
std::string ranks_on(const std::vector<std::string>& hosts, const std::string& host) {
  std::string text;
  for (std::size_t begin = 0; begin < hosts.size();) {
    std::size_t end = begin;
    while (end < hosts.size() && hosts[end] == host) ++end;
    if (end > begin) {
      text += fmt::format("{}{}", text.empty() ? "" : ", ", begin);
      if (end > begin + 1) text += fmt::format(" to {}", end - 1);
    }
    begin = std::max(end, begin + 1);
  }
  return fmt::format("rank{} {}", std::ranges::count(hosts, host) == 1 ? "" : "s", text);
}

std::string facts(const Run& run) {
  const History& history = run.history;
  std::string text = escape(history.setting("model"));
  if (history.launches.empty()) return text;
  const Launch& launch = history.launches.back();
  if (launch.parameters) {
    text += fmt::format(", {} parameters", format_count(*launch.parameters));
  }
  text += fmt::format(" · {} on {} · started {}", escape(launch.backend), host_text(launch.hosts),
                      escape(history.launches.front().started));
  if (history.launches.size() > 1) {
    text +=
        fmt::format(", {} starts, the last {}", history.launches.size(), escape(launch.started));
  }
  return text;
}

}  // namespace

std::string metric_name(const Run& run) { return escape(run.history.metric); }

std::string metric_value(const Run& run, double value) {
  return run.history.has_accuracy() ? percent(value) : number(value);
}

std::string tile(const std::string& key, const std::string& name, const std::string& value,
                 const std::string& remark) {
  return fmt::format(
      "<div><dt>{}</dt><dd data-key=\"{}\">{}</dd><dd class=\"remark\">{}</dd></div>\n", name, key,
      value, remark);
}

std::string host_text(const std::vector<std::string>& hosts) {
  std::vector<std::string> names;
  for (const std::string& host : hosts) {
    if (std::ranges::find(names, host) == names.end()) names.push_back(host);
  }
  std::string text;
  for (const std::string& name : names) {
    text += fmt::format("{}{} ({})", text.empty() ? "" : ", ", escape(name), ranks_on(hosts, name));
  }
  return text;
}

std::string headline(const Run& run) {
  const char* state = run.history.status == Status::kRunning ? "running"
                      : run.history.status == Status::kDone  ? "done"
                                                             : "stopped";
  return fmt::format(
      "<header><p class=\"eyebrow\">lockstep training run <span class=\"state {}\">{}</span></p>\n"
      "<h1>{}</h1>\n<p class=\"facts\">{}</p>\n<p class=\"lead\">{}</p>\n{}</header>\n",
      state, escape(run.history.status_text()), escape(run.label), facts(run), lead(run),
      tiles(run));
}

std::string curve_section(std::span<const Run> runs, Figures& figures) {
  std::vector<std::string> drawn;
  for (const auto& chart :
       {loss_chart(runs), metric_chart(runs), rate_chart(runs), throughput_chart(runs)}) {
    if (chart) drawn.push_back(figures.draw(*chart));
  }
  if (drawn.empty()) return "";
  const std::string note =
      runs.size() > 1
          ? "<p>Lines with points: validation. Pale lines: training by epoch.</p>\n"
          : fmt::format(
                "<p>Dotted lines: the learning rate changes, to the value beside them. Training "
                "figures are taken while the weights change, with dropout{} where {} on: so they "
                "may lie below those of the validation.</p>\n",
                runs[0].history.of_images() ? " and distorted images" : "",
                runs[0].history.of_images() ? "those are" : "it is");
  return section("curves", "Learning curves", note + figure_grid(drawn));
}

std::string epoch_section(const Run& run) {
  const History& history = run.history;
  if (history.epochs.empty()) return "";
  const bool has_metric = !history.metric.empty();
  std::vector<std::vector<Cell>> rows;
  for (const TrainingRecord& epoch : history.epochs) {
    const EvaluationRecord* validation = history.validation_at(epoch.step);
    const bool validated = validation != nullptr;
    const bool best = run.summary.best != nullptr && run.summary.best->step == epoch.step;
    std::vector<Cell> row{{count(epoch.epoch) + (best ? " <b>best</b>" : "")},
                          {number(epoch.loss)}};
    if (has_metric) row.push_back({metric_value(run, epoch.metric)});
    row.push_back({validated ? number(validation->loss) : "–"});
    if (has_metric) row.push_back({validated ? metric_value(run, validation->metric) : "–"});
    row.push_back({number(epoch.learning_rate)});
    row.push_back({rate_text(epoch.samples_per_second)});
    row.push_back({duration(total(epoch.seconds))});
    rows.push_back(std::move(row));
  }
  std::vector<std::string> head{"Epoch", "Training loss"};
  if (has_metric) head.push_back(metric_name(run));
  head.push_back("Validation loss");
  if (has_metric) head.push_back(metric_name(run));
  for (const char* name : {"Learning rate", "Samples/s", "Time"}) head.emplace_back(name);
  return section("epochs", "Epoch by epoch", table("", head, rows, "numbers"));
}

std::string decision_text(const DecisionRecord& decision) {
  return fmt::format("epoch {}: {}", decision.epoch, escape(decision.reason));
}

std::string decision_section(const Run& run) {
  if (run.history.decisions.empty() && run.history.skips.empty()) return "";
  std::string list = "<ol class=\"decisions\">\n";
  for (const DecisionRecord& decision : run.history.decisions) {
    const bool changed = decision.rate_after != decision.rate_before || decision.stop;
    list += fmt::format("<li{}>{} <span class=\"quiet\">({} {})</span></li>\n",
                        changed         ? " class=\"changed\""
                        : decision.best ? " class=\"best\""
                                        : "",
                        decision_text(decision), escape(decision.monitor),
                        number(decision.metric_after, 6));
  }
  list += "</ol>\n";
  for (const SkipRecord& skip : run.history.skips) {
    list += fmt::format(
        "<p>Step {} (epoch {}): its update was left out, the gradient of {} not "
        "being finite.</p>\n",
        skip.step, skip.epoch, escape(skip.tensor));
  }
  return section(
      "decisions", "Decisions",
      "<p>What the root concluded after each validation, and all ranks applied.</p>\n" + list);
}

}  // namespace lockstep::report
