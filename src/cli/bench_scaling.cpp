// lockstep bench scaling: rate and efficiency of training by number of ranks, measured in jobs of
// its own, where the rest went, and what ranks that nobody has would do.
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>
#include <tuple>

#include "bench.h"
#include "bench_scaling_job.h"
#include "doctor_findings.h"
#include "job_options.h"
#include "launcher.h"
#include "lockstep/base/cast.h"
#include "lockstep/base/file.h"
#include "lockstep/comm/launcher.h"
#include "lockstep/comm/together.h"
#include "lockstep/model/flat_parameters.h"
#include "lockstep/sync/gradient_reducer.h"
#include "scaling_report.h"
#include "scratch_directory.h"

namespace lockstep {

namespace {

using Json = nlohmann::ordered_json;

// Given by hand, in place of what is measured.
struct Given {
  std::optional<double> step_seconds;
  std::optional<double> latency;
  std::optional<double> seconds_per_byte;
  std::optional<std::string> record;  // the file of an earlier measurement

  bool whole() const { return step_seconds || record; }
};

struct Plan {
  std::vector<int> ranks;
  int rounds = 3;
  int steps = 40;
  std::vector<int> predict{8, 16, 32, 64, 128, 256, 512, 1024};
  Given given;
  std::optional<std::filesystem::path> picture;
  bool json = false;
};

// A job that is started once a round. Two rows may need the same one.
struct Job {
  int ranks = 1;
  std::int64_t batch = 0;
  int threads = 0;
  int virtual_ranks = 0;
  std::vector<ScalingRun> runs;

  bool same_as(const Job& other) const {
    return std::tie(ranks, batch, threads, virtual_ranks) ==
           std::tie(other.ranks, other.batch, other.threads, other.virtual_ranks);
  }
};

// "4 GPUs" or "2 cores": what a rank has one of.
std::string hardware_text(const Settings& settings) {
  const int gpus = gpus_for(settings);
  const int units = rank_places(settings);
  return fmt::format("{} {}{}", units, gpus > 0 ? "GPU" : "core", units == 1 ? "" : "s");
}

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

Given given_by(const ParsedSettings& parsed) {
  Given given;
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
  if (given.step_seconds && !(given.latency && given.seconds_per_byte)) {
    fail(ExitCode::kUsage, "--step-time needs --link-latency and --link-bandwidth");
  }
  return given;
}

Plan make_plan(const ParsedSettings& parsed) {
  const Settings& settings = parsed.settings;
  const auto& options = parsed.options;
  Plan plan;
  plan.given = given_by(parsed);
  if (options.contains("predict")) plan.predict = parse_ranks(options.at("predict"), "predict");
  if (options.contains("ranks")) {
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
    const bool links = plan.given.latency && plan.given.seconds_per_byte;
    if (options.contains("predict") && plan.ranks.back() == 1 && !links) {
      fail(ExitCode::kUsage,
           "--predict: one rank has no links to measure; more --ranks, or --link-latency and "
           "--link-bandwidth");
    }
    return plan;
  }
  for (const char* name : {"ranks", "rounds", "steps", "picture"}) {
    if (!options.contains(name)) continue;
    fail(ExitCode::kUsage, "--{}: with --{} nothing is measured", name,
         plan.given.record ? "from" : "step-time");
  }
  for (const auto& [name, source] : parsed.sources) {
    if (!plan.given.record || source != Source::kCommandLine) continue;
    fail(ExitCode::kUsage, "--{}: with --from all settings are those of the record", name);
  }
  return plan;
}

// What is printed as well may be drawn in vain.
void require_writable(const std::filesystem::path& file) {
  const std::filesystem::path folder = file.has_parent_path() ? file.parent_path() : ".";
  if (::access(folder.c_str(), W_OK) != 0) {
    fail(ExitCode::kCannotCreate, "{}: cannot be written", file.string());
  }
}

std::string title_of(const Plan& plan, const Settings& settings) {
  const int threads = settings.model.threads;
  return fmt::format(
      "{} on {}, {}, {} thread{} a rank, median of {} round{} of {} steps (the second half counts)",
      settings.model.name, hardware_text(settings), version_text(),
      threads > 0 ? std::to_string(threads) : "cores/ranks", threads == 1 ? "" : "s", plan.rounds,
      plan.rounds == 1 ? "" : "s", plan.steps);
}

void foresee(ScalingForecast& forecast, const Plan& plan) {
  LinkModel& link = forecast.model.link;
  link.latency = plan.given.latency.value_or(link.latency);
  link.seconds_per_byte = plan.given.seconds_per_byte.value_or(link.seconds_per_byte);
  if (plan.given.latency || plan.given.seconds_per_byte) forecast.source += "; links as given";
  for (const int ranks : plan.predict) {
    forecast.ranks.push_back(
        lockstep::forecast(forecast.model, ranks, forecast.global_batch, kTargetEfficiency));
  }
}

// The messages of the network that the settings name, for images like MNIST's.
std::vector<SentBucket> planned_buckets(const Settings& settings) {
  const FlatParameters parameters(make_network(settings.model.name, {.convolution = "direct"}),
                                  at::kCPU);
  std::vector<std::int64_t> filled;
  std::vector<SentBucket> behind;  // what backward does not fill
  const DataType type = reduce_type_of(settings.train.reduce_dtype);
  for (const auto& bucket :
       GradientReducer::plan_buckets(parameters, settings.train.bucket_mb, type)) {
    if (bucket.parameters > 0) {
      filled.push_back(bucket.count * checked_cast<std::int64_t>(size_of(type)));
    } else {
      behind.push_back({static_cast<double>(bucket.count) * sizeof(float), 0});
    }
  }
  std::vector<SentBucket> buckets = evenly_filled(filled);
  buckets.insert(buckets.end(), behind.begin(), behind.end());
  return buckets;
}

std::string_view backend_of(const Settings& settings) {
  const bool nccl = settings.comm.backend == "nccl" || gpus_for(settings) > 0;
  return nccl ? "nccl" : "mpi";
}

ScalingForecast forecast_by_hand(const Plan& plan, const Settings& settings) {
  ScalingForecast forecast{
      .model = {},
      .global_batch = settings.train.batch_size,
      .source = fmt::format("{}, one rank's step of {} samples as given; buckets as if backward "
                            "were two thirds of it and filled them evenly",
                            settings.model.name, settings.train.batch_size),
      .ranks = {}};
  StepModel& model = forecast.model;
  model.per_sample = *plan.given.step_seconds / static_cast<double>(settings.train.batch_size);
  model.buckets = planned_buckets(settings);
  model.algorithm = step_algorithm(settings, backend_of(settings), /*ranks=*/0);
  return forecast;
}

ScalingReport report_without_measuring(const Plan& plan, const Settings& settings) {
  ScalingReport report;
  if (plan.given.record) {
    const std::string text = read_text_file(*plan.given.record);
    const Json record = Json::parse(text, nullptr, /*allow_exceptions=*/false);
    report.forecast = forecast_of(record, *plan.given.record);
  } else {
    report.forecast = forecast_by_hand(plan, settings);
  }
  foresee(*report.forecast, plan);
  return report;
}

// The object that the job has printed among its messages.
ScalingRun run_in(const std::string& output, int ranks) {
  const std::string text = "\n" + output;
  const std::size_t begin = text.find("\n{\n");
  const std::size_t end = text.rfind("\n}");
  const bool found = begin != std::string::npos && end != std::string::npos && begin < end;
  const Json record = found ? Json::parse(text.substr(begin, end + 2 - begin), nullptr, false)
                            : Json(Json::value_t::discarded);
  const Json::json_pointer place("/results/0/run");
  if (record.is_discarded() || !record.contains(place)) {
    fail(ExitCode::kUnavailable, "a job of {} ranks has printed no record:\n{}", ranks, output);
  }
  return scaling_run_of(record[place]);
}

ScalingRun measure(const Job& job, const Plan& plan, const Settings& settings,
                   const std::filesystem::path& scratch) {
  Settings own = settings;
  own.train.batch_size = job.batch;
  own.train.batch_size_per_rank = 0;
  own.train.virtual_ranks = job.virtual_ranks;
  own.model.threads = job.threads;
  const std::filesystem::path config = scratch / "job.ini";
  replace_file(config, settings_to_ini(own));
  const JobResult result = run_job(job.ranks, {"bench", "scaling", "--config", config.string(),
                                               "--steps", std::to_string(plan.steps), "--json"});
  if (result.exit_code != static_cast<int>(ExitCode::kDone)) {
    fail(exit_code_of(result, job.ranks), "a job of {} ranks ended with code {}:\n{}", job.ranks,
         result.exit_code, result.output);
  }
  return run_in(result.output, job.ranks);
}

// The jobs that the rows need, each once.
class Jobs {
 public:
  std::size_t add(const Job& job) {
    const auto found = std::ranges::find_if(jobs_, [&](const Job& j) { return j.same_as(job); });
    if (found != jobs_.end()) return static_cast<std::size_t>(found - jobs_.begin());
    jobs_.push_back(job);
    return jobs_.size() - 1;
  }
  void run(const Plan& plan, const Settings& settings) {
    const ScratchDirectory scratch("bench");
    const bool shown = ::isatty(STDERR_FILENO) == 1;
    std::size_t done = 0;
    for (int round = 0; round < plan.rounds; ++round) {
      for (Job& job : jobs_) {
        job.runs.push_back(measure(job, plan, settings, scratch.path()));
        if (shown) {
          std::fprintf(stderr, "\r%zu of %zu jobs", ++done,
                       jobs_.size() * static_cast<std::size_t>(plan.rounds));
        }
      }
    }
    if (shown) std::fputs("\r\033[K", stderr);
  }
  const Job& operator[](std::size_t number) const { return jobs_[number]; }
  const std::vector<Job>& all() const { return jobs_; }

 private:
  std::vector<Job> jobs_;
};

// A rank of `job` that has its shard and the machine for itself.
Job alone(const Job& job, int threads) {
  return {.ranks = 1,
          .batch = (job.batch + job.ranks - 1) / job.ranks,
          .threads = job.ranks == 1 ? job.threads : threads,
          .virtual_ranks = job.virtual_ranks / job.ranks,
          .runs = {}};
}

int threads_of_rank(const Settings& settings, int ranks) {
  if (settings.model.threads > 0) return settings.model.threads;
  return settings.train.virtual_ranks > 0 ? 1 : std::max(1, available_cores() / ranks);
}

std::optional<ScalingForecast> forecast_from(const ScalingReport& report, const Jobs& jobs,
                                             const Plan& plan, const Settings& settings) {
  const int most = plan.ranks.back();
  std::vector<TimedStep> own_steps;
  for (const Job& job : jobs.all()) {
    const bool counts =
        job.ranks == 1 && (job.threads == threads_of_rank(settings, most) || most == 1);
    if (counts) own_steps.push_back(typical_run(job.runs).own_step());
  }
  ScalingForecast forecast{.model = {},
                           .global_batch = settings.train.batch_size,
                           .source = "one rank's steps as measured above",
                           .ranks = {}};
  const std::vector<const ScalingRow*> linked = report.linked();
  if (!linked.empty()) {
    ScalingRun run = linked.front()->typical();
    for (const ScalingRow* row : linked) {
      if (row->ranks == most && !row->weak) run = row->typical();
    }
    run.sums = median_sums(report, run.ranks);
    forecast.model = step_model(own_steps, run);
    forecast.source +=
        fmt::format(", messages and links as with {} ranks (of each size the median)", run.ranks);
  } else if (plan.given.latency && plan.given.seconds_per_byte) {
    fit_steps(forecast.model, own_steps);
    forecast.model.buckets = planned_buckets(settings);
    forecast.model.algorithm = step_algorithm(settings, backend_of(settings), /*ranks=*/0);
  } else {
    return std::nullopt;
  }
  foresee(forecast, plan);
  return forecast;
}

ScalingReport measured_report(const Plan& plan, const Settings& settings) {
  struct Place {
    std::size_t job = 0, alone = 0;
  };
  Jobs jobs;
  ScalingReport report{.title = title_of(plan, settings), .rows = {}, .forecast = {}};
  std::vector<Place> places;
  for (const bool weak : {false, true}) {
    for (const int ranks : plan.ranks) {
      // Weak: what one rank would have of the strong batch at the smallest number of ranks.
      const std::int64_t batch =
          weak ? settings.train.batch_size * ranks / plan.ranks.front() : settings.train.batch_size;
      const Job job{.ranks = ranks,
                    .batch = batch,
                    .threads = threads_of_rank(settings, ranks),
                    .virtual_ranks = settings.train.virtual_ranks,
                    .runs = {}};
      places.push_back({jobs.add(job), jobs.add(alone(job, job.threads))});
      report.rows.push_back(
          {.weak = weak, .ranks = ranks, .global_batch = batch, .rounds = {}, .alone = {}});
    }
  }
  jobs.run(plan, settings);
  for (std::size_t i = 0; i < places.size(); ++i) {
    report.rows[i].rounds = jobs[places[i].job].runs;
    report.rows[i].alone = typical_run(jobs[places[i].alone].runs).parts.computing;
  }
  report.forecast = forecast_from(report, jobs, plan, settings);
  return report;
}

void print_report(const ScalingReport& report, const Plan& plan, const Settings& settings) {
  if (!plan.json) return print_or_fail(scaling_text(report));
  Json record = benchmark_record("scaling", settings);
  record["model"] = settings.model.name;
  record["seed"] = settings.train.seed;
  record["rounds"] = plan.rounds;
  record["steps"] = plan.steps;
  add_scaling(record, report);
  print_or_fail(record.dump(2) + "\n");
}

// First what has been measured: a picture that cannot be drawn must not lose it.
void print(const ScalingReport& report, const Plan& plan, const Settings& settings) {
  print_report(report, plan, settings);
  if (plan.picture) replace_file(*plan.picture, draw_scaling(scaling_picture(report)));
}

// The ranks of a job that mpirun has started: one row, and no rank that was alone.
ExitCode measure_job(Session& session) {
  World& world = session.world();
  const Settings& settings = session.settings();
  Plan plan;
  together(world, [&] {
    for (const char* name : {"ranks", "rounds", "picture", "from", "step-time"}) {
      if (!session.parsed().options.contains(name)) continue;
      fail(ExitCode::kUsage, "--{}: not in the ranks of one job, which mpirun has started", name);
    }
    plan = make_plan(session.parsed());
    plan.rounds = 1;
    if (world.size() == 1 && session.parsed().options.contains("predict")) {
      fail(ExitCode::kUsage, "--predict: a job of one rank has no links to measure");
    }
  });
  const ScalingRun run = measure_scaling(session, plan.steps);
  together(world, [&] {
    if (!world.is_root()) return;
    ScalingReport report{.title = title_of(plan, settings),
                         .rows = {{.weak = false,
                                   .ranks = run.ranks,
                                   .global_batch = run.global_batch,
                                   .rounds = {run},
                                   .alone = {}}},
                         .forecast = {}};
    if (!report.linked().empty()) {
      report.forecast = ScalingForecast{.model = step_model({run.own_step()}, run),
                                        .global_batch = run.global_batch,
                                        .source = "steps, messages and links as measured above",
                                        .ranks = {}};
      foresee(*report.forecast, plan);
    }
    print(report, plan, settings);
  });
  return ExitCode::kDone;
}

ExitCode run_scaling(const Command& command, std::span<const std::string> arguments) {
  if (mpi_job_rank() >= 0) {
    Session session(command, arguments);
    return reporting(session.world(), [&] { return measure_job(session); });
  }
  const ParsedSettings parsed = parse_settings(arguments, command.accepts);
  const Settings& settings = parsed.settings;
  const Plan plan = make_plan(parsed);
  if (plan.picture) require_writable(*plan.picture);
  const bool measures = !plan.given.whole();
  print(measures ? measured_report(plan, settings) : report_without_measuring(plan, settings), plan,
        settings);
  return ExitCode::kDone;
}

}  // namespace

Benchmark scaling_benchmark() {
  return {
      .name = "scaling",
      .summary = "training by number of ranks: rate, efficiency, where the rest went, a forecast",
      .options = {"ranks", "rounds", "steps", "predict", "link-latency", "link-bandwidth",
                  "step-time", "from", "picture", "json"},
      // Everything that has a meaning in jobs of so many steps that nobody goes on with.
      .settings = settings_except({"batch-size-per-rank", "checkpoint-every-epochs",
                                   "checkpoint-every-steps", "early-stopping", "epochs",
                                   "inject-fault", "keep-checkpoints", "ledger-dir",
                                   "log-every-steps", "log-level", "max-minutes", "max-steps",
                                   "out", "resume", "scale-learning-rate", "test-data"}),
      .run = run_scaling};
}

}  // namespace lockstep
