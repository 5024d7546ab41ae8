// Several runs side by side.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <optional>

#include "lockstep/base/text.h"
#include "report/html.h"
#include "report/page.h"

namespace lockstep::report {

namespace {

// Colours begin anew after the last; their squares are hollow then, and their lines dashed.
std::string swatch(std::size_t index) {
  const int color = static_cast<int>(index);
  return fmt::format("<i class=\"swatch{}\" style=\"--k:var(--c{})\"></i>",
                     color >= kColors ? " again" : "", color % kColors);
}

std::vector<std::string> run_heads(std::span<const Run> runs) {
  std::vector<std::string> head{""};
  for (std::size_t i = 0; i < runs.size(); ++i) {
    head.push_back(swatch(i) + escape(runs[i].label));
  }
  return head;
}

// A result of each run, and how it differs from the first run's.
struct Result {
  std::string name;
  std::function<std::optional<double>(const Run&)> value;
  std::function<std::string(double)> show;
  std::function<std::string(double)> show_difference;
};

std::string points(double difference) { return fmt::format("{:+.2f} points", 100 * difference); }

std::string signed_number(double difference) { return fmt::format("{:+.4g}", difference); }

// The other metrics than accuracy, each once.
std::vector<std::string> other_metrics(std::span<const Run> runs) {
  std::vector<std::string> names;
  for (const Run& run : runs) {
    const std::string& name = run.history.metric;
    if (name.empty() || run.history.has_accuracy()) continue;
    if (std::ranges::find(names, name) == names.end()) names.push_back(name);
  }
  return names;
}

std::vector<Result> results(std::span<const Run> runs) {
  using Optional = std::optional<double>;
  const auto of_test = [](auto member) {
    return [member](const Run& run) -> Optional {
      if (!run.history.test) return std::nullopt;
      return (*run.history.test).*member;
    };
  };
  const auto of_best = [](auto member) {
    return [member](const Run& run) -> Optional {
      if (run.summary.best == nullptr) return std::nullopt;
      return run.summary.best->*member;
    };
  };
  const auto metric_of = [](const std::string& metric, auto value) {
    return [metric, value](const Run& run) -> Optional {
      if (run.history.metric != metric) return std::nullopt;
      return value(run);
    };
  };
  const auto as_percent = [](double value) { return percent(value); };
  const auto as_number = [](double value) { return number(value); };
  const auto as_count = [](double value) { return count(static_cast<std::int64_t>(value)); };
  const auto test_metric = of_test(&EvaluationRecord::metric);
  const auto best_metric = of_best(&EvaluationRecord::metric);
  const std::vector<std::string> others = other_metrics(runs);
  std::vector<Result> all;
  const auto add_metrics = [&](const std::string& split, const auto& value) {
    for (const std::string& name : others) {
      all.push_back({split + " " + escape(name), metric_of(name, value), as_number, signed_number});
    }
  };
  const bool any_accuracy =
      std::ranges::any_of(runs, [](const Run& run) { return run.history.has_accuracy(); });
  if (any_accuracy) {
    all.push_back({"Test accuracy", metric_of("accuracy", test_metric), as_percent, points});
    all.push_back({"Test errors",
                   [](const Run& run) -> Optional {
                     if (!run.history.test || run.history.test->confusion.empty()) {
                       return std::nullopt;
                     }
                     return static_cast<double>(run.summary.errors);
                   },
                   as_count, signed_number});
  }
  add_metrics("Test", test_metric);
  all.push_back({"Test loss", of_test(&EvaluationRecord::loss), as_number, signed_number});
  if (any_accuracy) {
    all.push_back(
        {"Best validation accuracy", metric_of("accuracy", best_metric), as_percent, points});
  }
  add_metrics("Best validation", best_metric);
  all.push_back({any_accuracy || !others.empty() ? "Its loss" : "Best validation loss",
                 of_best(&EvaluationRecord::loss), as_number, signed_number});
  all.push_back({"Its epoch",
                 [](const Run& run) -> Optional {
                   if (run.summary.best == nullptr) return std::nullopt;
                   return static_cast<double>(run.summary.best->epoch);
                 },
                 as_count, signed_number});
  if (any_accuracy) {
    all.push_back({"Expected calibration error",
                   [](const Run& run) -> Optional {
                     if (!run.summary.calibration) return std::nullopt;
                     return run.summary.calibration->expected_error;
                   },
                   as_percent, points});
  }
  all.push_back({"Samples per second", [](const Run& run) { return run.summary.throughput; },
                 as_number, signed_number});
  all.push_back({"Training time",
                 [](const Run& run) -> Optional {
                   if (run.history.epochs.empty()) return std::nullopt;
                   return run.summary.training_seconds;
                 },
                 duration,
                 [](double seconds) {
                   return fmt::format("{}{}", seconds < 0 ? "-" : "+",
                                      format_duration(std::abs(seconds)));
                 }});
  return all;
}

std::vector<Cell> result_row(const Result& result, std::span<const Run> runs) {
  std::vector<Cell> row{{result.name}};
  const auto first = result.value(runs[0]);
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const auto value = result.value(runs[i]);
    std::string html = value ? result.show(*value) : "–";
    if (i > 0 && first && value && std::isfinite(*first) && std::isfinite(*value)) {
      html += fmt::format("<small>{}</small>",
                          *value == *first ? "equal" : result.show_difference(*value - *first));
    }
    row.push_back({html});
  }
  return row;
}

// Adds a row of HTML unless all runs say the same.
void add_if_different(std::vector<std::vector<Cell>>& rows, const std::string& name,
                      std::span<const Run> runs,
                      const std::function<std::string(const Run&)>& value) {
  std::vector<std::string> values;
  for (const Run& run : runs) values.push_back(value(run));
  if (std::ranges::adjacent_find(values, std::ranges::not_equal_to{}) == values.end()) return;
  std::vector<Cell> row{{name}};
  for (const std::string& text : values) row.push_back({text.empty() ? "–" : text});
  rows.push_back(std::move(row));
}

std::vector<std::string> setting_names(std::span<const Run> runs) {
  std::vector<std::string> names;
  for (const Run& run : runs) {
    for (const Setting& setting : run.history.settings) {
      if (std::ranges::find(names, setting.name) == names.end()) names.push_back(setting.name);
    }
  }
  return names;
}

// The run with the highest or lowest value of those that have one; null: none has.
const Run* best_of(std::span<const Run> runs, bool highest,
                   const std::function<std::optional<double>(const Run&)>& value) {
  const Run* best = nullptr;
  for (const Run& run : runs) {
    const auto own = value(run);
    if (!own || std::isnan(*own)) continue;
    if (best == nullptr || (highest ? *own > *value(*best) : *own < *value(*best))) best = &run;
  }
  return best;
}

std::string comparison_lead(std::span<const Run> runs) {
  const Run* best = best_of(runs, true, [](const Run& run) -> std::optional<double> {
    if (!run.history.has_accuracy() || !run.history.test) return std::nullopt;
    return run.history.test->metric;
  });
  if (best != nullptr) {
    return fmt::format("The highest test accuracy is {}, of {}: {} of {} wrong.",
                       percent(best->history.test->metric), escape(best->label),
                       count(best->summary.errors), count(best->history.test->samples));
  }
  if (std::ranges::any_of(runs, [](const Run& run) { return run.history.has_accuracy(); })) {
    return "None of them has a test accuracy yet.";
  }
  for (const Run& run : runs) {
    if (run.history.metric != runs[0].history.metric) return "They have different metrics.";
  }
  best = best_of(runs, false, [](const Run& run) -> std::optional<double> {
    if (!run.history.test) return std::nullopt;
    return run.history.test->loss;
  });
  if (best == nullptr) return "None of them has a test loss yet.";
  return fmt::format("The lowest test loss is {}, of {}.", number(best->history.test->loss),
                     escape(best->label));
}

}  // namespace

std::string comparison_headline(std::span<const Run> runs) {
  return fmt::format(
      "<header><p class=\"eyebrow\">lockstep training runs</p>\n<h1>{} runs compared</h1>\n<p "
      "class=\"lead\">{}</p></header>\n",
      runs.size(), comparison_lead(runs));
}

std::string result_section(std::span<const Run> runs) {
  std::vector<std::vector<Cell>> rows;
  for (const Result& result : results(runs)) rows.push_back(result_row(result, runs));
  std::vector<Cell> states{{"State"}};
  for (const Run& run : runs) states.push_back({escape(run.history.status_text())});
  rows.push_back(std::move(states));
  return section("results", "Results",
                 "<p>Below each value: its difference from the first run's.</p>\n" +
                     table("", run_heads(runs), rows, "compared"));
}

std::string difference_section(std::span<const Run> runs) {
  std::vector<std::vector<Cell>> rows;
  for (const std::string& name : setting_names(runs)) {
    if (name == "out") continue;  // the runs' own names
    add_if_different(rows, escape(name), runs,
                     [&](const Run& run) { return escape(run.history.setting(name)); });
  }
  using OfLaunch = std::function<std::string(const Launch&)>;
  const auto launched_html = [&](const char* name, const OfLaunch& of) {
    add_if_different(rows, name, runs, [&](const Run& run) {
      return run.history.launches.empty() ? std::string() : of(run.history.launches.back());
    });
  };
  const auto launched = [&](const char* name, const OfLaunch& of) {
    launched_html(name, [&](const Launch& launch) { return escape(of(launch)); });
  };
  launched("ranks", [](const Launch& launch) { return std::to_string(launch.world_size); });
  launched_html("hosts", [](const Launch& launch) {
    const auto& hosts = launch.hosts;
    // How many ranks one host has is said above.
    const bool one = std::ranges::adjacent_find(hosts, std::ranges::not_equal_to{}) == hosts.end();
    return one && !hosts.empty() ? escape(hosts[0]) : host_text(hosts);
  });
  launched("backend", [](const Launch& launch) { return launch.backend; });
  launched("versions", [](const Launch& launch) { return launch.versions; });
  launched("numerical identity", [](const Launch& launch) { return launch.numerics; });
  launched("training data (SHA-256)", [](const Launch& launch) { return launch.data_sha256; });
  launched("test data (SHA-256)", [](const Launch& launch) { return launch.test_sha256; });
  const std::string content =
      rows.empty() ? "<p>None: all settings, versions, hosts and data are the same.</p>\n"
                   : "<p>All other settings, versions, hosts and data are the same.</p>\n" +
                         table("", run_heads(runs), rows, "compared words");
  return section("differences", "What differs", content);
}

std::string decisions_section(std::span<const Run> runs) {
  std::string content;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    std::string list;
    for (const DecisionRecord& decision : runs[i].history.decisions) {
      if (decision.rate_after == decision.rate_before && !decision.stop) continue;
      list += fmt::format("<li>{}</li>\n", decision_text(decision));
    }
    content += fmt::format("<h3>{}{}</h3>\n{}", swatch(i), escape(runs[i].label),
                           list.empty() ? "<p>The learning rate was never changed.</p>\n"
                                        : "<ol class=\"decisions\">\n" + list + "</ol>\n");
  }
  return section("decisions", "Changes of the learning rate, early stops", content);
}

}  // namespace lockstep::report
