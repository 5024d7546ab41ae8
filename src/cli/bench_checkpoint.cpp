// lockstep bench checkpoint: what a checkpoint costs, alone and in the step loop.
#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bench.h"
#include "checkpoint_parts.h"
#include "lockstep/base/clock.h"
#include "lockstep/base/text.h"
#include "lockstep/checkpoint/store.h"
#include "lockstep/comm/together.h"
#include "scratch_directory.h"
#include "timed_sums.h"
#include "training_job.h"

namespace lockstep {

namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

struct Plan {
  int rounds = 5;
  int interval = 20;  // steps
  fs::path out;
  bool json = false;
};

Plan make_plan(const ParsedSettings& parsed) {
  Plan plan{.rounds = option_or(parsed, "rounds", 5, 1, 1000),
            .interval = option_or(parsed, "steps", 20, 2, 1'000'000),
            .out = {},
            .json = parsed.options.contains("json")};
  if (const auto out = parsed.options.find("out"); out != parsed.options.end()) {
    plan.out = out->second;
  }
  return plan;
}

struct Facts {
  int ranks = 1;
  fs::path directory;
  std::int64_t bytes = 0;
  std::size_t files = 0;
  std::int64_t steps_per_epoch = 0;
  std::vector<double> stalls;  // seconds, one a checkpoint
  std::vector<double> steps;   // seconds, of steps behind which there was none
  std::vector<CheckpointPart> parts;

  double epoch_seconds() const { return static_cast<double>(steps_per_epoch) * median(steps); }
};

// Times of the step loop on one rank: of steps, and of what checkpoints put between two of them.
class StepLoop {
 public:
  explicit StepLoop(int interval) : interval_(interval) {}

  void step_done(const StepReport& report) {
    const double since_last = watch_.lap();
    // An epoch's first step has waited for the end of the last one, too.
    const bool first = report.cursor.epoch != std::exchange(epoch_, report.cursor.epoch);
    if (!first && after_checkpoint_) {
      stalls_.push_back(std::max(0.0, since_last - report.seconds.total()));
    } else if (!first) {
      seconds_.push_back(since_last);
    }
    after_checkpoint_ = report.cursor.global_step % interval_ == 0;
  }
  const std::vector<double>& stalls() const { return stalls_; }
  const std::vector<double>& steps() const { return seconds_; }

 private:
  int interval_;
  Stopwatch watch_;
  std::int64_t epoch_ = -1;
  bool after_checkpoint_ = false;
  std::vector<double> stalls_, seconds_;
};

std::string table(const Facts& facts, const Settings& settings) {
  const double megabytes = 1e-6 * static_cast<double>(facts.bytes);
  std::string text = fmt::format(
      "checkpoint of {} with {}: {} bytes in {} files\n{} rank{}, global batch {}, seed {}, in {}\n"
      "{}\n\n"
      "part            ms   most ms      MB/s   what\n",
      settings.model.name, settings.optimizer.name, format_count(facts.bytes), facts.files,
      facts.ranks, facts.ranks == 1 ? "" : "s", settings.train.batch_size, settings.train.seed,
      facts.directory.string(), version_text());
  const auto line = [&](const CheckpointPart& part) {
    const double seconds = median(part.seconds);
    return fmt::format("{:<9}{:>9.2f}{:>10.2f}{:>10.0f}   {}\n", part.name, 1e3 * seconds,
                       1e3 * std::ranges::max(part.seconds), megabytes / seconds, part.meaning);
  };
  for (const CheckpointPart& part : facts.parts) text += line(part);
  text += line({"stall", "what it keeps the step loop waiting for", facts.stalls});
  return text +
         fmt::format(
             "\nmedian and most of {} checkpoints. A step takes {:.2f} ms, an epoch of {} "
             "steps {:.2f} s without its\nvalidation: one checkpoint an epoch is {:.2f} % of "
             "it.\n",
             facts.stalls.size(), 1e3 * median(facts.steps), facts.steps_per_epoch,
             facts.epoch_seconds(), 100 * median(facts.stalls) / facts.epoch_seconds());
}

Json to_json(const Facts& facts, const Settings& settings) {
  Json record = benchmark_record("checkpoint", settings);
  record["seed"] = settings.train.seed;
  record["model"] = settings.model.name;
  record["optimizer"] = settings.optimizer.name;
  record["ranks"] = facts.ranks;
  record["global_batch"] = settings.train.batch_size;
  record["directory"] = facts.directory.string();
  record["bytes"] = facts.bytes;
  record["files"] = facts.files;
  for (const CheckpointPart& part : facts.parts) {
    record["seconds"][part.name] = median(part.seconds);
    record["seconds_by_round"][part.name] = part.seconds;
  }
  record["seconds"]["stall"] = median(facts.stalls);
  record["seconds_by_round"]["stall"] = facts.stalls;
  record["step_seconds"] = median(facts.steps);
  record["steps_per_epoch"] = facts.steps_per_epoch;
  record["epoch_seconds"] = facts.epoch_seconds();
  record["stall_share_of_epoch"] = median(facts.stalls) / facts.epoch_seconds();
  return record;
}

// A training that is checkpointed, as often as is to be measured, and goes on for a step each time.
Facts train(Session& session, const Plan& plan, const fs::path& out) {
  World& world = session.world();
  Settings settings = session.settings();
  settings.train.checkpoint_every_steps = plan.interval;
  settings.train.checkpoint_every_epochs = settings.train.epochs = 1'000'000;
  settings.train.max_steps = static_cast<std::int64_t>(plan.interval) * plan.rounds + 1;
  settings.train.log_level = "warning";  // no progress line
  TrainingData data = load_training_data(session);
  data.split.validation.clear();  // an epoch that ends meanwhile is no part of it
  StepLoop loop(plan.interval);
  TrainingJob job(
      world, settings, session.device(),
      [&] {
        Task task = classification_task(settings, data);
        task.callbacks.on_step = [&](const StepReport& report) { loop.step_done(report); };
        return task;
      },
      out);
  job.trainer().run();
  job.close();
  if (loop.stalls().empty()) {
    fail_together(world, ExitCode::kUsage,
                  fmt::format("each of the checkpoints fell on an epoch's end: with {} steps an "
                              "epoch --steps {} measures nothing",
                              job.trainer().steps_per_epoch(), plan.interval));
  }
  return {.ranks = world.size(),
          .directory = {},
          .steps_per_epoch = job.trainer().steps_per_epoch(),
          .stalls = loop.stalls(),
          .steps = loop.steps(),
          .parts = {}};
}

ExitCode measure(Session& session) {
  World& world = session.world();
  Plan plan;
  std::optional<ScratchDirectory> scratch;
  together(world, [&] {
    plan = make_plan(session.parsed());
    if (world.is_root()) scratch.emplace("bench", plan.out);
  });
  const fs::path place = scratch ? scratch->path() : fs::path();
  Facts facts = train(session, plan, place / "run");
  world.enter_phase(Phase::kCheckpoint);
  together(world, [&] {
    if (!world.is_root()) return;
    const auto progress = [&] { world.publish_progress(); };
    std::vector<CheckpointStore::Skipped> skipped;
    const auto loaded = CheckpointStore(place / "run" / "checkpoints").load_latest(skipped);
    LOCKSTEP_CHECK(loaded && skipped.empty(), "the checkpoints just written are not good");
    facts.directory = fs::canonical(place).parent_path();
    facts.files = loaded->files.size();
    for (const auto& [name, bytes] : loaded->files) {
      facts.bytes += static_cast<std::int64_t>(bytes.size());
    }
    facts.parts = time_checkpoint_parts(*loaded, place, plan.rounds, progress);
    print_or_fail(plan.json ? to_json(facts, session.settings()).dump(2) + "\n"
                            : table(facts, session.settings()));
  });
  return ExitCode::kDone;
}

ExitCode run(const Command& command, std::span<const std::string> arguments) {
  return run_together(
      command, "checkpoint", arguments, [](const Settings&) { return 1; }, measure);
}

}  // namespace

Benchmark checkpoint_benchmark() {
  return {.name = "checkpoint",
          .summary = "bytes and seconds to write and to read, and what the step loop waits for",
          .options = {"ranks", "rounds", "steps", "out", "json"},
          .settings = settings_except({"batch-size-per-rank", "checkpoint-every-epochs",
                                       "checkpoint-every-steps", "early-stopping", "epochs",
                                       "evaluation-batch", "inject-fault", "log-every-steps",
                                       "max-minutes", "max-steps", "monitor", "out", "resume",
                                       "scale-learning-rate", "test-data", "validation"}),
          .run = run};
}

}  // namespace lockstep
