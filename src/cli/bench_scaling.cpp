// lockstep bench scaling: rate and efficiency of training by number of ranks, measured in jobs of
// its own, where the rest went, and what ranks that nobody has would do.
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "bench.h"
#include "bench_scaling_job.h"
#include "job_options.h"
#include "lockstep/base/cast.h"
#include "lockstep/base/file.h"
#include "lockstep/comm/launcher.h"
#include "lockstep/comm/together.h"
#include "lockstep/model/flat_parameters.h"
#include "lockstep/sync/gradient_reducer.h"
#include "scaling_jobs.h"
#include "scaling_plan.h"
#include "scaling_report.h"

namespace lockstep {

namespace {

using Json = nlohmann::ordered_json;

// "4 GPUs" or "2 cores": what a rank has one of.
std::string hardware_text(const Settings& settings) {
  const int gpus = gpus_for(settings);
  const int units = rank_places(settings);
  return fmt::format("{} {}{}", units, gpus > 0 ? "GPU" : "core", units == 1 ? "" : "s");
}

// Before anything is measured: there must be gnuplot, and a place for the picture.
void require_drawable(const std::filesystem::path& file) {
  const std::filesystem::path folder = file.has_parent_path() ? file.parent_path() : ".";
  std::error_code none;
  const bool taken =
      std::filesystem::exists(file, none) && !std::filesystem::is_regular_file(file, none);
  if (taken || ::access(folder.c_str(), W_OK) != 0) {
    fail(ExitCode::kCannotCreate, "--picture {}: cannot be written", file.string());
  }
  const ScalingPicture::Curve curve{.label = "", .points = {{1, 1}}};
  draw_scaling({.rates = {curve},
                .efficiencies = {curve},
                .parts = {"computing"},
                .bars = {{.label = "", .shares = {100}}}});
}

std::string title_of(const ScalingPlan& plan, const Settings& settings) {
  const int threads = settings.model.threads;
  return fmt::format(
      "{} on {}, {}, {} thread{} a rank, median of {} round{} of {} steps (the second half counts)",
      settings.model.name, hardware_text(settings), version_text(),
      threads > 0 ? std::to_string(threads) : "cores/ranks", threads == 1 ? "" : "s", plan.rounds,
      plan.rounds == 1 ? "" : "s", plan.steps);
}

void foresee(ScalingForecast& forecast, const ScalingPlan& plan) {
  LinkModel& link = forecast.model.link;
  link.latency = plan.given.latency.value_or(link.latency);
  link.seconds_per_byte = plan.given.seconds_per_byte.value_or(link.seconds_per_byte);
  if (plan.given.latency || plan.given.seconds_per_byte) forecast.source += "; links as given";
  if (!forecast.model.possible()) {
    fail(ExitCode::kUsage, "no training has a step, links and messages like those of: {}",
         forecast.source);
  }
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

// What a step sends, and how, as nothing was seen of it.
void plan_messages(StepModel& model, const Settings& settings) {
  model.buckets = planned_buckets(settings);
  model.algorithm = step_algorithm(settings, backend_of(settings), /*ranks=*/0);
}

ScalingForecast forecast_by_hand(const ScalingPlan& plan, const Settings& settings) {
  ScalingForecast forecast{
      .model = {},
      .global_batch = settings.train.batch_size,
      .source = fmt::format("{}, one rank's step of {} samples as given; buckets as if backward "
                            "were two thirds of it and filled them evenly",
                            settings.model.name, settings.train.batch_size),
      .ranks = {}};
  StepModel& model = forecast.model;
  model.per_sample = *plan.given.step_seconds / static_cast<double>(settings.train.batch_size);
  plan_messages(model, settings);
  return forecast;
}

void print_report(const ScalingReport& report, const ScalingPlan& plan, const Settings& settings,
                  const Json& facts) {
  if (!plan.json) return print_or_fail(scaling_text(report));
  Json record = benchmark_record("scaling", settings);
  record.update(facts);
  add_scaling(record, report);
  print_or_fail(record.dump(2) + "\n");
}

// Without measuring.
void forecast_alone(const ScalingPlan& plan, const Settings& settings) {
  ScalingReport report;
  Json facts;
  if (plan.given.record) {
    const std::string text = read_text_file(*plan.given.record);
    const Json record = Json::parse(text, nullptr, /*allow_exceptions=*/false);
    report.forecast = forecast_of(record, *plan.given.record);
    for (const char* name : {"model", "seed", "rounds", "steps"}) {
      if (record.contains(name)) facts[name] = record[name];
    }
  } else {
    report.forecast = forecast_by_hand(plan, settings);
    facts["model"] = settings.model.name;
  }
  report.title = "a forecast, by " + version_text();
  foresee(*report.forecast, plan);
  print_report(report, plan, settings, facts);
}

std::optional<ScalingForecast> forecast_from(const ScalingReport& report, const ScalingJobs& jobs,
                                             const ScalingPlan& plan, const Settings& settings) {
  const int most = plan.ranks.back();
  std::vector<TimedStep> own_steps;
  for (const ScalingJob& job : jobs.all()) {
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
  } else if (plan.given.links()) {
    fit_steps(forecast.model, own_steps);
    plan_messages(forecast.model, settings);
  } else {
    return std::nullopt;
  }
  foresee(forecast, plan);
  return forecast;
}

ScalingReport measured_report(const ScalingPlan& plan, const Settings& settings) {
  struct Place {
    std::size_t job = 0, alone = 0;
  };
  ScalingJobs jobs;
  ScalingReport report{.title = title_of(plan, settings), .rows = {}, .forecast = {}};
  std::vector<Place> places;
  for (const bool weak : {false, true}) {
    for (const int ranks : plan.ranks) {
      // Weak: what one rank would have of the strong batch at the smallest number of ranks.
      const std::int64_t batch =
          weak ? settings.train.batch_size * ranks / plan.ranks.front() : settings.train.batch_size;
      const ScalingJob job{.ranks = ranks,
                           .batch = batch,
                           .threads = threads_of_rank(settings, ranks),
                           .virtual_ranks = settings.train.virtual_ranks,
                           .runs = {}};
      places.push_back({jobs.add(job), jobs.add(alone(job))});
      report.rows.push_back(
          {.weak = weak, .ranks = ranks, .global_batch = batch, .rounds = {}, .alone = {}});
    }
  }
  jobs.run(plan.rounds, plan.steps, settings);
  for (std::size_t i = 0; i < places.size(); ++i) {
    report.rows[i].rounds = jobs[places[i].job].runs;
    report.rows[i].alone = typical_run(jobs[places[i].alone].runs).parts.computing;
  }
  report.forecast = forecast_from(report, jobs, plan, settings);
  return report;
}

// First what has been measured: a picture that cannot be drawn must not lose it.
void print(const ScalingReport& report, const ScalingPlan& plan, const Settings& settings) {
  print_report(report, plan, settings,
               {{"model", settings.model.name},
                {"seed", settings.train.seed},
                {"rounds", plan.rounds},
                {"steps", plan.steps}});
  if (plan.picture) replace_file(*plan.picture, draw_scaling(scaling_picture(report)));
}

// The ranks of a job that mpirun has started: one row, and no rank that was alone.
ExitCode measure_job(Session& session) {
  World& world = session.world();
  const Settings& settings = session.settings();
  ScalingPlan plan;
  together(world, [&] {
    for (const char* name : {"ranks", "rounds", "picture", "from", "step-time"}) {
      if (!session.parsed().options.contains(name)) continue;
      fail(ExitCode::kUsage, "--{}: not in the ranks of one job, which mpirun has started", name);
    }
    plan = make_scaling_plan(session.parsed(), world.size());
    plan.rounds = 1;
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
    } else if (plan.given.links()) {
      report.forecast = ScalingForecast{.model = {},
                                        .global_batch = run.global_batch,
                                        .source = "steps as measured above",
                                        .ranks = {}};
      const TimedStep own_step = run.own_step();
      fit_steps(report.forecast->model, {&own_step, 1});
      plan_messages(report.forecast->model, settings);
    }
    if (report.forecast) foresee(*report.forecast, plan);
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
  const ScalingPlan plan = make_scaling_plan(parsed, /*job=*/0);
  if (plan.given.whole()) {
    forecast_alone(plan, settings);
    return ExitCode::kDone;
  }
  if (plan.picture) require_drawable(*plan.picture);
  print(measured_report(plan, settings), plan, settings);
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
