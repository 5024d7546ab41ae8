// lockstep bench step: where the time of a training step goes, by phase and by layer.
#include <ATen/Parallel.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "bench.h"
#include "bench_step_output.h"
#include "doctor_probe.h"
#include "layer_timer.h"
#include "lockstep/comm/together.h"
#include "lockstep/train/trainer.h"
#include "timed_sums.h"
#include "training_job.h"

namespace lockstep {

namespace {

struct Plan {
  int warm_up = 20;
  int steps = 20;  // timed by phase, and as many by layer, in turns
  bool json = false;
};

Plan make_plan(const ParsedSettings& parsed) {
  const int steps = option_or(parsed, "steps", 40, 2, 1'000'000);
  return {
      .warm_up = steps - steps / 2, .steps = steps / 2, .json = parsed.options.contains("json")};
}

// Listens to the steps of a training, which are warm-up first, then in turns timed as they are and
// watched layer by layer: what the machine does meanwhile strikes both alike.
class StepMeasurement {
 public:
  StepMeasurement(const Plan& plan, const ComputeDevice& device) : plan_(plan), layers_(device) {}

  Model watch(const Model& model) { return layers_.watch(model); }

  void step_done(const StepReport& report) {
    const std::int64_t timed = report.cursor.global_step - plan_.warm_up;
    if (timed <= 0) return;
    if (timed % 2 != 0) {
      seconds_.push_back(report.seconds);
      samples_ += report.samples;
      layers_.start();
    } else {
      layers_.stop();
      layer_seconds_.add(report.seconds);
      watching_forward_.push_back(report.seconds.forward - seconds_.back().forward);
      watching_backward_.push_back(report.seconds.backward - seconds_.back().backward);
    }
  }

  const std::vector<PhaseSeconds>& seconds() const { return seconds_; }
  const PhaseSeconds& layer_seconds() const { return layer_seconds_; }
  std::vector<LayerTime> layers() const { return layers_.times(); }
  PassSeconds watching() const {
    return {.forward = median(watching_forward_), .backward = median(watching_backward_)};
  }
  std::int64_t samples() const { return samples_; }

 private:
  Plan plan_;
  LayerTimer layers_;
  std::vector<PhaseSeconds> seconds_;  // one a step
  PhaseSeconds layer_seconds_;         // of all steps that were watched
  // How much longer each of these took than the step before it.
  std::vector<double> watching_forward_, watching_backward_;
  std::int64_t samples_ = 0;  // of all ranks, in seconds_
};

PhaseSeconds mean(const std::vector<PhaseSeconds>& steps) {
  PhaseSeconds all;
  for (const PhaseSeconds& step : steps) all.add(step);
  const auto count = static_cast<double>(steps.size());
  return {.data = all.data / count,
          .forward = all.forward / count,
          .backward = all.backward / count,
          .communication = all.communication / count,
          .optimizer = all.optimizer / count,
          .other = all.other / count};
}

// The better of two: what else the machine does meanwhile can only lower it.
double sgemm_rate(const std::vector<ComputeTime>& before, const std::vector<ComputeTime>& after) {
  return std::max(before[0].gflops, after[0].gflops);
}

ExitCode measure(Session& session) {
  World& world = session.world();
  const ComputeDevice& device = session.device();
  Settings settings = session.settings();
  Plan plan;
  together(world, [&] { plan = make_plan(session.parsed()); });
  TrainingData data = load_training_data(session);
  data.split.validation.clear();  // an epoch that ends meanwhile is no part of a step
  settings.train.max_steps = plan.warm_up + 2 * plan.steps;
  settings.train.epochs = 1'000'000;

  world.enter_phase(Phase::kEvaluation);
  const std::vector<ComputeTime> before = time_computing(world, device, session.faults());
  const std::unique_ptr<Collectives> collectives =
      make_collectives(world, settings.comm, device.is_cuda(), device.stream);
  StepMeasurement measurement(plan, device);
  std::optional<Trainer> trainer;
  together(world, [&] {
    Task task = classification_task(settings, data);
    task.model = measurement.watch(task.model);
    task.callbacks.on_step = [&](const StepReport& report) { measurement.step_done(report); };
    trainer.emplace(world, *collectives, device, std::move(task),
                    TrainerConfig{.train = settings.train,
                                  .optimizer = settings.optimizer,
                                  .schedule = settings.schedule,
                                  .settings = {},
                                  .numerics = {},
                                  .faults = {}});
  });
  trainer->begin_together();
  trainer->run();
  world.enter_phase(Phase::kEvaluation);
  const std::vector<ComputeTime> after = time_computing(world, device, session.faults());

  const PhaseSeconds own = mean(measurement.seconds());
  StepFacts facts{
      .ranks = world.size(),
      .threads = at::get_num_threads(),
      .backend = std::string(collectives->backend()),
      .numerics = numerical_identity(device, settings.model),
      .warm_up = plan.warm_up,
      .steps = plan.steps,
      .global_batch = trainer->global_batch(),
      .samples = measurement.samples(),
      .by_rank = world.gather_values(std::span(&own, 1)),
      .layers = measurement.layers(),
      .layer_seconds = measurement.layer_seconds(),
      // On a GPU a pass that is not watched ends when its operators are in the queue.
      .watching = device.is_cuda() ? std::nullopt : std::optional(measurement.watching()),
      .sgemm_gflops = sgemm_rate(before, after)};
  together(world, [&] {
    if (!world.is_root()) return;
    print_or_fail(plan.json ? step_json(facts, settings) : step_text(facts, settings));
  });
  return ExitCode::kDone;
}

ExitCode run(const Command& command, std::span<const std::string> arguments) {
  return run_together(
      command, "step", arguments, [](const Settings&) { return 1; }, measure);
}

}  // namespace

Benchmark step_benchmark() {
  return {.name = "step",
          .summary = "a training step by phase and by layer, against the core's matrix product",
          .options = {"ranks", "steps", "json"},
          // Everything that has a meaning in steps that nobody goes on with.
          .settings = settings_except(
              {"checkpoint-every-epochs", "checkpoint-every-steps", "early-stopping", "epochs",
               "evaluation-batch", "inject-fault", "keep-checkpoints", "log-every-steps",
               "max-minutes", "max-steps", "monitor", "out", "resume", "test-data", "validation"}),
          .run = run};
}

}  // namespace lockstep
