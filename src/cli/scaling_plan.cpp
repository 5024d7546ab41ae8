#include "scaling_plan.h"

#include <algorithm>
#include <charconv>

#include "bench.h"
#include "doctor_report.h"
#include "job_options.h"
#include "lockstep/base/error.h"

namespace lockstep {

namespace {

std::optional<double> positive(const ParsedSettings& parsed, const std::string& name) {
  const auto given = parsed.options.find(name);
  if (given == parsed.options.end()) return std::nullopt;
  const std::string& text = given->second;
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !(value > 0) || value > 1e12) {
    fail(ExitCode::kUsage, "--{} {}: expected a number above 0", name, text);
  }
  return value;
}

GivenForecast given_by(const ParsedSettings& parsed) {
  GivenForecast given;
  const auto scaled = [&](const char* name, const auto& scale) -> std::optional<double> {
    const std::optional<double> value = positive(parsed, name);
    return value ? std::optional(scale(*value)) : std::nullopt;
  };
  given.step_seconds = scaled("step-time", [](double ms) { return 1e-3 * ms; });
  given.latency = scaled("link-latency", [](double us) { return 1e-6 * us; });
  given.seconds_per_byte = scaled("link-bandwidth", [](double mbit) { return 8e-6 / mbit; });
  if (const auto file = parsed.options.find("from"); file != parsed.options.end()) {
    given.record = file->second;
  }
  if (given.step_seconds && given.record) {
    fail(ExitCode::kUsage, "--step-time and --from exclude each other");
  }
  if (given.step_seconds && !given.links()) {
    fail(ExitCode::kUsage, "--step-time needs --link-latency and --link-bandwidth");
  }
  return given;
}

}  // namespace

ScalingPlan make_scaling_plan(const ParsedSettings& parsed, int job) {
  const Settings& settings = parsed.settings;
  const auto& options = parsed.options;
  ScalingPlan plan;
  plan.given = given_by(parsed);
  if (options.contains("predict")) plan.predict = parse_ranks(options.at("predict"), "predict");
  if (job > 0) {
    plan.ranks = {job};
  } else if (options.contains("ranks")) {
    plan.ranks = parse_ranks(options.at("ranks"));
  } else {
    for (int ranks = 1; ranks <= rank_places(settings); ranks *= 2) plan.ranks.push_back(ranks);
  }
  for (std::vector<int>* list : {&plan.ranks, &plan.predict}) {
    std::ranges::sort(*list);
    list->erase(std::unique(list->begin(), list->end()), list->end());
  }
  plan.rounds = option_or(parsed, "rounds", plan.rounds, 1, 1000);
  plan.steps = option_or(parsed, "steps", plan.steps, 2, 1'000'000);
  if (options.contains("picture")) plan.picture = options.at("picture");
  plan.json = options.contains("json");
  if (!plan.given.whole()) {
    // Before anything is measured that would be lost.
    for (const int ranks : plan.ranks) {
      const std::string problem = virtual_ranks_problem(settings.train.virtual_ranks, ranks);
      if (!problem.empty()) fail(ExitCode::kUsage, "{}", problem);
    }
    for (const char* name : {"predict", "link-latency", "link-bandwidth"}) {
      if (plan.given.links() || plan.ranks.back() > 1 || !options.contains(name)) continue;
      fail(ExitCode::kUsage,
           "--{}: one rank has no links to measure; more ranks, or both --link-latency and "
           "--link-bandwidth",
           name);
    }
    return plan;
  }
  for (const char* name : {"ranks", "rounds", "steps", "picture"}) {
    if (!options.contains(name)) continue;
    fail(ExitCode::kUsage, "--{}: with --{} nothing is measured", name,
         plan.given.record ? "from" : "step-time");
  }
  if (!plan.given.record) return plan;
  for (const auto& [name, source] : parsed.sources) {
    if (source == Source::kDefault) continue;
    fail(ExitCode::kUsage, "--{}: with --from all settings are those of the record", name);
  }
  return plan;
}

}  // namespace lockstep
