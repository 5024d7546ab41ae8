// lockstep bench scaling: the rate of training by number of ranks, measured in jobs of its own.
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "bench.h"
#include "job_options.h"
#include "launcher.h"
#include "lockstep/base/file.h"
#include "lockstep/comm/launcher.h"
#include "scratch_directory.h"

namespace lockstep {

namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kPhases[] = {"data",          "forward",   "backward",
                                   "communication", "optimizer", "other"};

struct Plan {
  std::vector<int> ranks;
  int rounds = 5;
  int steps = 40;
  bool json = false;
};

// The median run of one configuration.
struct Measurement {
  bool weak = false;
  int ranks = 0;
  std::int64_t global_batch = 0;
  std::vector<double> rates;  // samples per second, one a round
  std::vector<Json> seconds;  // phases, one a round

  std::size_t median_round() const {
    std::vector<std::size_t> order(rates.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::ranges::sort(order, {}, [this](std::size_t i) { return rates[i]; });
    return order[order.size() / 2];
  }
  double rate() const { return rates[median_round()]; }
};

// "4 GPUs" or "2 cores": what a rank has one of.
std::string hardware_text(const Settings& settings) {
  const int gpus = gpus_for(settings);
  const int units = rank_places(settings);
  return fmt::format("{} {}{}", units, gpus > 0 ? "GPU" : "core", units == 1 ? "" : "s");
}

Plan make_plan(const ParsedSettings& parsed) {
  const Settings& settings = parsed.settings;
  const auto& options = parsed.options;
  Plan plan;
  if (options.contains("ranks")) {
    plan.ranks = parse_ranks(options.at("ranks"));
  } else {
    for (int ranks = 1; ranks <= rank_places(settings); ranks *= 2) plan.ranks.push_back(ranks);
  }
  std::ranges::sort(plan.ranks);
  plan.ranks.erase(std::unique(plan.ranks.begin(), plan.ranks.end()), plan.ranks.end());
  plan.rounds = option_or(parsed, "rounds", plan.rounds, 1, 1000);
  plan.steps = option_or(parsed, "steps", plan.steps, 2, 1'000'000);
  plan.json = options.contains("json");
  return plan;
}

// The first half of a job's steps warms up; the second is one step record, which is read here.
void measure(Measurement& measurement, const Plan& plan, const Settings& settings,
             const std::filesystem::path& scratch, int number) {
  Settings job = settings;
  const std::int64_t window = std::min(20, plan.steps / 2);
  job.train.out = scratch / fmt::format("run-{}", number);
  job.train.batch_size = measurement.global_batch;
  job.train.batch_size_per_rank = 0;
  job.train.log_every_steps = window;
  job.train.max_steps = plan.steps / window * window;
  job.train.epochs = 1'000'000;
  job.train.log_level = "warning";
  const std::filesystem::path config = scratch / fmt::format("run-{}.ini", number);
  replace_file(config, settings_to_ini(job));
  const JobResult result = run_job(measurement.ranks, {"train", "--config", config.string()});
  if (static_cast<ExitCode>(result.exit_code) != ExitCode::kStopped) {
    const ExitCode code = exit_code_of(result, measurement.ranks);
    fail(code == ExitCode::kDone ? ExitCode::kUnavailable : code,
         "a job of {} ranks ended with code {}:\n{}", measurement.ranks, result.exit_code,
         result.output);
  }
  const std::string metrics = read_text_file(job.train.out / "metrics.jsonl");
  double samples = 0, total = 0;
  Json phases;
  for (const char* phase : kPhases) phases[phase] = 0.0;
  for (std::size_t begin = 0; begin < metrics.size();) {
    const std::size_t end = metrics.find('\n', begin);
    const Json record = Json::parse(metrics.substr(begin, end - begin));
    begin = end + 1;
    if (record["kind"] != "step" || record["step"].get<std::int64_t>() <= plan.steps / 2) continue;
    double seconds = 0;
    for (const char* phase : kPhases) {
      const double part = record["seconds"][phase].get<double>();
      phases[phase] = phases[phase].get<double>() + part;
      seconds += part;
    }
    samples += record["samples_per_second"].get<double>() * seconds;
    total += seconds;
  }
  measurement.rates.push_back(samples / total);
  measurement.seconds.push_back(phases);
}

std::string table(const std::vector<Measurement>& measurements, const Plan& plan,
                  const Settings& settings) {
  std::string text = fmt::format(
      "{} on {}, {}, {} thread{} a rank, median of {} rounds of {} steps (the second half "
      "counts)\n\n"
      "scaling  ranks   batch  images/s  speed-up  efficiency      data   forward  backward  "
      "communi-  optimizer     other\n"
      "                                                                                      "
      "cation\n",
      settings.model.name, hardware_text(settings), version_text(),
      settings.model.threads > 0 ? std::to_string(settings.model.threads) : "cores/ranks",
      settings.model.threads == 1 ? "" : "s", plan.rounds, plan.steps);
  for (const Measurement& m : measurements) {
    const auto base = std::ranges::find_if(
        measurements, [&](const Measurement& other) { return other.weak == m.weak; });
    const double speed_up = m.rate() / base->rate();
    const double efficiency = speed_up * base->ranks / m.ranks;
    text +=
        fmt::format("{:<7} {:>6} {:>7} {:>9.1f} {:>9.2f} {:>10.1f} %", m.weak ? "weak" : "strong",
                    m.ranks, m.global_batch, m.rate(), speed_up, 100 * efficiency);
    const Json& seconds = m.seconds[m.median_round()];
    double total = 0;
    for (const char* phase : kPhases) total += seconds[phase].get<double>();
    for (const char* phase : kPhases) {
      text += fmt::format("{:>8.1f} %", 100 * seconds[phase].get<double>() / total);
    }
    text += "\n";
  }
  return text +
         "\nShares are the root's time in a step; communication is the part that backward did not "
         "hide.\n";
}

Json to_json(const std::vector<Measurement>& measurements, const Plan& plan,
             const Settings& settings) {
  Json rows = Json::array();
  for (const Measurement& m : measurements) {
    rows.push_back({{"scaling", m.weak ? "weak" : "strong"},
                    {"ranks", m.ranks},
                    {"global_batch", m.global_batch},
                    {"samples_per_second", m.rate()},
                    {"samples_per_second_by_round", m.rates},
                    {"seconds", m.seconds[m.median_round()]}});
  }
  Json record = benchmark_record("scaling", settings);
  record["model"] = settings.model.name;
  record["seed"] = settings.train.seed;
  record["rounds"] = plan.rounds;
  record["steps"] = plan.steps;
  record["results"] = rows;
  return record;
}

ExitCode run_scaling(const Command& command, std::span<const std::string> arguments) {
  if (mpi_job_rank() >= 0) {
    fail(ExitCode::kUsage, "lockstep bench scaling starts mpirun itself: call it without mpirun");
  }
  const ParsedSettings parsed = parse_settings(arguments, command.accepts);
  const Settings& settings = parsed.settings;
  const Plan plan = make_plan(parsed);
  const ScratchDirectory scratch("bench");
  std::vector<Measurement> measurements;
  for (const bool weak : {false, true}) {
    for (const int ranks : plan.ranks) {
      // Weak: what one rank would have of the strong batch at the smallest number of ranks.
      const std::int64_t batch =
          weak ? settings.train.batch_size * ranks / plan.ranks.front() : settings.train.batch_size;
      measurements.push_back(
          {.weak = weak, .ranks = ranks, .global_batch = batch, .rates = {}, .seconds = {}});
    }
  }
  int number = 0;
  for (int round = 0; round < plan.rounds; ++round) {
    for (Measurement& measurement : measurements) {
      measure(measurement, plan, settings, scratch.path(), number++);
      if (::isatty(STDERR_FILENO) == 1) {
        std::fprintf(stderr, "\r%d of %zu jobs", number,
                     measurements.size() * static_cast<std::size_t>(plan.rounds));
      }
    }
  }
  if (::isatty(STDERR_FILENO) == 1) std::fputs("\r\033[K", stderr);
  print_or_fail(plan.json ? to_json(measurements, plan, settings).dump(2) + "\n"
                          : table(measurements, plan, settings));
  return ExitCode::kDone;
}

}  // namespace

Benchmark scaling_benchmark() {
  return {.name = "scaling",
          .summary = "the rate of training by number of ranks, strong and weak (starts mpirun)",
          .options = {"ranks", "rounds", "steps", "json"},
          // Everything that has a meaning in jobs of so many steps that nobody goes on with.
          .settings = settings_except({"batch-size-per-rank", "checkpoint-every-epochs",
                                       "checkpoint-every-steps", "early-stopping", "epochs",
                                       "inject-fault", "keep-checkpoints", "ledger-dir",
                                       "log-every-steps", "log-level", "max-minutes", "max-steps",
                                       "out", "resume", "scale-learning-rate", "test-data"}),
          .run = run_scaling};
}

}  // namespace lockstep
