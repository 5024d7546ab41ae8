// What lockstep inspect says of a run to people.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>
#include <set>

#include "inspect_line.h"
#include "inspect_run.h"
#include "lockstep/base/text.h"
#include "lockstep/cli/settings.h"
#include "lockstep/records/progress.h"

namespace lockstep {

namespace {

using report::DecisionRecord;
using report::EvaluationRecord;
using report::History;
using report::TrainingRecord;

constexpr std::size_t kIndent = 13;
constexpr std::size_t kFewestEpochs = 8;  // that are shown however small the screen

std::string line(const std::string& title, const std::string& content, std::size_t columns) {
  return titled_line(title, kIndent, content, columns);
}

std::size_t height(const std::string& text) {
  return static_cast<std::size_t>(std::ranges::count(text, '\n'));
}

std::string host_names(const std::vector<std::string>& by_rank) {
  constexpr std::size_t kMost = 4;
  const std::set<std::string> hosts(by_rank.begin(), by_rank.end());
  const auto end =
      std::next(hosts.begin(), static_cast<std::ptrdiff_t>(std::min(kMost, hosts.size())));
  std::string text = fmt::format("{}", fmt::join(hosts.begin(), end, ", "));
  if (hosts.size() > kMost) text += fmt::format(" and {} more hosts", hosts.size() - kMost);
  return text;
}

std::string start_text(const History& history) {
  const report::Launch& launch = history.launches.back();
  std::string text = history.launches.front().started;
  if (history.launches.size() > 1) {
    text += fmt::format(", {} starts, the last {}", history.launches.size(), launch.started);
  }
  text += fmt::format("; {} rank{} on {}, gradients through {}", launch.world_size,
                      launch.world_size == 1 ? "" : "s", host_names(launch.hosts), launch.backend);
  if (launch.first_step_seconds) {
    text += fmt::format("; first step after {:.2f} s", *launch.first_step_seconds);
  }
  return text;
}

std::string data_text(const report::Launch& launch) {
  std::vector<std::string> splits;
  for (const report::SplitFacts& split : launch.splits) {
    splits.push_back(fmt::format("{} {}", format_count(split.samples), split.name));
  }
  return fmt::format("{} {} of {}, from {}", fmt::join(splits, ", "),
                     launch.images ? "images" : "samples", fmt::join(launch.shape, "x"),
                     launch.data_source);
}

// Settings that define the numbers and are not the default.
std::string settings_text(const History& history) {
  const auto defaults = number_settings(Settings{});
  std::vector<std::string> changed;
  for (const report::Setting& setting : history.settings) {
    const auto standard = defaults.find(setting.name);
    if (standard == defaults.end() || standard->second == setting.value) continue;
    changed.push_back(
        fmt::format("{}={}", setting.name, setting.value.empty() ? "\"\"" : setting.value));
  }
  return changed.empty() ? "all as by default"
                         : fmt::format("{} (the others as by default)", fmt::join(changed, " "));
}

std::string head_text(const RunFacts& facts, std::size_t columns) {
  const History& history = facts.history;
  std::string text =
      line("run", history.directory.string(), columns) + line("status", facts.end_text(), columns);
  if (!history.launches.empty()) text += line("started", start_text(history), columns);
  std::string network = history.setting("model");
  if (!history.launches.empty() && history.launches.back().parameters) {
    network += fmt::format(", {} parameters", format_count(*history.launches.back().parameters));
  }
  if (!network.empty()) text += line("network", network, columns);
  if (!history.settings.empty()) text += line("settings", settings_text(history), columns);
  if (!history.launches.empty()) text += line("data", data_text(history.launches.back()), columns);
  if (const EvaluationRecord* best = history.best_validation()) {
    text += line("best",
                 fmt::format("validation {} after epoch {}, step {}",
                             loss_text(best->loss, history.metric, best->metric, ", "), best->epoch,
                             format_count(best->step)),
                 columns);
  }
  if (history.test) {
    text +=
        line("test",
             fmt::format("{}, {} {}",
                         loss_text(history.test->loss, history.metric, history.test->metric, ", "),
                         format_count(history.test->samples), history.samples_name()),
             columns);
  }
  return text;
}

struct EpochRow {
  std::string text;
  bool eventful = false;  ///< first, last, best, or a change of the learning rate
  bool shown = false;
};

// Ten columns wide.
std::string metric_cell(const History& history, double value) {
  if (history.metric.empty()) return fmt::format("{:>10}", "-");
  return history.has_accuracy() ? fmt::format("{:>8.2f} %", 100 * value)
                                : fmt::format("{:>10.4g}", value);
}

EpochRow epoch_row(const History& history, std::size_t index, std::size_t columns) {
  const TrainingRecord& epoch = history.epochs[index];
  const EvaluationRecord* validation = history.validation_at(epoch.step);
  const DecisionRecord* decision = history.decision_at(epoch.step);
  const EvaluationRecord* best = history.best_validation();
  std::string text = fmt::format("{:>5}  {:>8.4f} {}", epoch.epoch, epoch.loss,
                                 metric_cell(history, epoch.metric));
  text += validation != nullptr ? fmt::format("  {:>8.4f} {}", validation->loss,
                                              metric_cell(history, validation->metric))
                                : fmt::format("  {:>8} {:>10}", "-", "-");
  text += fmt::format("  {:>9.4g}  ", epoch.learning_rate);
  const bool is_best = best != nullptr && best->step == epoch.step;
  text =
      titled_line(text, text.size(),
                  (is_best ? "* " : "") + (decision == nullptr ? "" : decision->reason), columns);
  // Nothing stands behind a learning rate without a decision.
  text.erase(text.find_last_not_of(" \n") + 1);
  const bool changed =
      decision != nullptr && (decision->rate_before != decision->rate_after || decision->stop);
  return {.text = text + "\n",
          .eventful = changed || is_best || index == 0 || index + 1 == history.epochs.size()};
}

// Marks rows until `room` lines are taken: eventful ones first, the newest first, then others at
// even distances.
void choose(std::vector<EpochRow>& rows, std::size_t room) {
  std::size_t taken = 0, all = 0;
  for (const EpochRow& row : rows) all += height(row.text);
  const auto show = [&](EpochRow& row) {
    if (row.shown || (all > room && taken + height(row.text) > room)) return;
    row.shown = true;
    taken += height(row.text);
  };
  show(rows.front());
  for (auto row = rows.rbegin(); row != rows.rend(); ++row) {
    if (row->eventful) show(*row);
  }
  for (std::size_t distance = rows.size(); distance > 0; distance /= 2) {
    for (std::size_t i = 0; i < rows.size(); i += distance) show(rows[i]);
  }
}

std::string epochs_text(const History& history, std::size_t columns, std::size_t room) {
  if (history.epochs.empty()) return "\nno epoch is complete\n";
  std::vector<EpochRow> rows;
  for (std::size_t i = 0; i < history.epochs.size(); ++i) {
    rows.push_back(epoch_row(history, i, columns));
  }
  choose(rows, room);
  std::string text =
      "\nepoch            training           validation   learning\n"
      "          loss   accuracy      loss   accuracy       rate  decision (* the best)\n";
  if (!history.has_accuracy()) {
    text =
        "\nepoch            training           validation   learning\n"
        "          loss     metric      loss     metric       rate  decision (* the best)\n";
  }
  for (const EpochRow& row : rows) {
    if (row.shown) text += row.text;
  }
  const auto hidden = std::ranges::count(rows, false, &EpochRow::shown);
  if (hidden > 0) {
    text += fmt::format("{} epochs in which less happened are not shown (--json has all)\n",
                        format_count(hidden));
  }
  return text;
}

std::string checkpoints_text(const RunFacts& facts, std::size_t columns) {
  if (facts.checkpoints.empty()) return "\nno checkpoint\n";
  std::string text = "\ncheckpoint     verified\n";
  for (const RunCheckpoint& checkpoint : facts.checkpoints) {
    std::string content = "yes, after epoch " + std::to_string(checkpoint.epoch);
    if (!checkpoint.problem.empty()) content = "DAMAGED: " + checkpoint.problem;
    if (checkpoint.newest) content += ", the newest";
    if (checkpoint.best) content += ", the best";
    const std::size_t indent = std::max<std::size_t>(15, checkpoint.name.size() + 2);
    text += titled_line(checkpoint.name, indent, content, columns);
  }
  if (!facts.set_aside.empty()) {
    text += line("set aside", fmt::format("{}", fmt::join(facts.set_aside, ", ")), columns);
  }
  return text;
}

}  // namespace

std::string run_text(const RunFacts& facts, std::size_t columns, std::size_t rows) {
  const std::string head = head_text(facts, columns);
  std::string tail = checkpoints_text(facts, columns);
  for (const std::string& note : facts.history.notes) tail += line("note", note, columns);
  // Head and end of the table, and the prompt.
  const std::size_t others = height(head) + height(tail) + 5;
  const std::size_t room = rows > others ? rows - others : 0;
  return head + epochs_text(facts.history, columns, std::max(room, kFewestEpochs)) + tail;
}

}  // namespace lockstep
