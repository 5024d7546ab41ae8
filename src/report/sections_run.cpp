// How a run was made: class frequencies, time, settings, versions, hosts.
#include <fmt/format.h>

#include <algorithm>

#include "lockstep/base/text.h"
#include "report/html.h"
#include "report/page.h"

namespace lockstep::report {

namespace {

std::string host_of(const Run& run, std::size_t rank) {
  if (run.history.launches.empty()) return "";
  const auto& hosts = run.history.launches.back().hosts;
  return rank < hosts.size() ? fmt::format(" ({})", escape(hosts[rank])) : "";
}

std::string row(const std::string& name, const std::string& value) {
  return fmt::format("<div><dt>{}</dt><dd>{}</dd></div>\n", name, value.empty() ? "–" : value);
}

std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::string text;
  for (const std::int64_t extent : shape) {
    text += fmt::format("{}{}", text.empty() ? "" : " x ", extent);
  }
  return text;
}

std::string launch_list(const History& history) {
  if (history.launches.empty()) return "<p class=\"note\">launch.json is not there.</p>\n";
  const Launch& launch = history.launches.back();
  std::string list = "<dl class=\"pairs wide\">\n";
  list += row("versions", escape(launch.versions));
  list += row("numerical identity", escape(launch.numerics));
  list += row("hosts", host_text(launch.hosts));
  list += row("gradients through", escape(launch.backend));
  list += row("training data",
              fmt::format("{}, {}", escape(launch.data_source), shape_text(launch.shape)));
  list += row("its SHA-256", fmt::format("<code>{}</code>", escape(launch.data_sha256)));
  if (!launch.test_sha256.empty()) {
    list += row("test data", escape(launch.test_source));
    list += row("its SHA-256", fmt::format("<code>{}</code>", escape(launch.test_sha256)));
  }
  std::string starts;
  for (const Launch& start : history.launches) {
    starts +=
        fmt::format("{}{} with {} rank{}", starts.empty() ? "" : "<br>", escape(start.started),
                    start.world_size, start.world_size == 1 ? "" : "s");
  }
  list += row(history.launches.size() == 1 ? "start" : "starts", starts);
  return list + "</dl>\n";
}

}  // namespace

std::string class_figure(const std::vector<SplitFacts>& splits, Figures& figures) {
  std::size_t classes = 0;
  std::vector<std::string> head{"Class"};
  for (const SplitFacts& split : splits) {
    classes = std::max(classes, split.class_counts.size());
    head.push_back(escape(split.name));
  }
  std::vector<std::vector<Cell>> rows;
  for (std::size_t c = 0; c < classes; ++c) {
    rows.push_back({{std::to_string(c)}});
    for (const SplitFacts& split : splits) {
      rows.back().push_back({c < split.class_counts.size() ? count(split.class_counts[c]) : "–"});
    }
  }
  rows.push_back({{"all"}});
  for (const SplitFacts& split : splits) rows.back().push_back({count(split.samples)});
  return "<div class=\"beside\">" + figures.draw(class_chart(splits)) +
         table("", head, rows, "numbers") + "</div>\n";
}

std::string frequency_section(const Run& run, Figures& figures) {
  if (run.history.launches.empty()) return "";
  const auto& splits = run.history.launches.back().splits;
  if (std::ranges::all_of(splits, [](const SplitFacts& s) { return s.class_counts.empty(); })) {
    return "";
  }
  return section("frequencies", "Class frequencies", class_figure(splits, figures));
}

std::string time_section(const Run& run, Figures& figures) {
  const Summary& summary = run.summary;
  if (summary.by_rank.empty() || summary.training_seconds <= 0) return "";
  std::vector<std::string> head{"Rank"};
  for (const std::string_view phase : kPhases) head.emplace_back(phase);
  head.emplace_back("Time");
  std::vector<std::vector<Cell>> rows;
  for (std::size_t rank = 0; rank < summary.by_rank.size(); ++rank) {
    const PhaseTimes& times = summary.by_rank[rank];
    const double whole = total(times);
    rows.push_back({{fmt::format("{}{}", rank, host_of(run, rank))}});
    for (const double seconds : times) {
      rows.back().push_back({whole > 0 ? percent(seconds / whole, 1) : "–"});
    }
    rows.back().push_back({duration(whole)});
  }
  std::string text =
      "<p>Training alone, without validation and checkpoints. Backward includes the communication "
      "it hides; communication is what it does not. The ranks of one job wait for one another: a "
      "slow one shows as communication of the others.</p>\n";
  if (!summary.all_ranks) {
    text += "<p class=\"note\">This run has recorded the times of the root alone.</p>\n";
  }
  if (run.history.launches.size() > 1) {
    text +=
        "<p>This run was started more than once: of an epoch that was interrupted, the time after "
        "its last start counts.</p>\n";
  }
  if (summary.by_rank.size() > kMostRanksShown) {
    text += fmt::format("<p>The picture shows the first {} ranks.</p>\n", kMostRanksShown);
  }
  std::vector<std::string> drawn{figures.draw(time_chart(summary))};
  if (const auto chart = epoch_time_chart(run.history)) drawn.push_back(figures.draw(*chart));
  return section("time", "Where the time goes",
                 text + figure_grid(drawn) + table("", head, rows, "numbers"));
}

std::string settings_section(const Run& run) {
  const History& history = run.history;
  std::string groups, group, list;
  const auto close = [&] {
    if (list.empty()) return;
    groups += fmt::format("<div class=\"group\"><h3>{}</h3><dl class=\"pairs\">\n{}</dl></div>\n",
                          escape(group), list);
    list.clear();
  };
  for (const Setting& setting : history.settings) {
    if (setting.group != group) close();
    group = setting.group;
    list += row(escape(setting.name), escape(setting.value));
  }
  close();
  if (groups.empty()) groups = "<p class=\"note\">config.ini is not there.</p>\n";
  return section("machine", "Versions, hosts, data", launch_list(history)) +
         section("settings", "Settings", "<div class=\"groups\">\n" + groups + "</div>\n");
}

}  // namespace lockstep::report
