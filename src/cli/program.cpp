#include "lockstep/cli/program.h"

#include <ATen/Context.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <utility>
#include <vector>

#include "command_line.h"
#include "lockstep/comm/together.h"
#include "lockstep/train/stop_signal.h"
#include "session.h"
#include "training_job.h"
#include "training_run.h"

namespace lockstep {

namespace {

Command command_of(const Program& program) {
  LOCKSTEP_CHECK(!program.name.empty() && program.name.find_first_of("/ \t\n") == std::string::npos,
                 "\"{}\" is no name of a program", program.name);
  std::vector<std::string> without{"model"};
  if (!program.images) {
    for (const char* name : {"augment", "data", "label-smoothing", "rotation", "shift-x", "shift-y",
                             "stratify", "test-data", "zoom"}) {
      without.emplace_back(name);
    }
  }
  CommandLine accepts;
  accepts.settings = settings_except(without);
  return {.name = program.name,
          .summary = program.summary,
          .accepts = std::move(accepts),
          .run = nullptr,
          .model = program.name};
}

Launch launch_of(Session& session) {
  World& world = session.world();
  return {.settings = session.settings(),
          .rank = world.rank(),
          .world_size = world.size(),
          .progress = [&world] { world.publish_progress(); }};
}

void require_complete(const Task& task) {
  if (!task.data || !task.objective || !task.model.module()) {
    fail(ExitCode::kUsage, "the task has no {}",
         !task.data ? "data" : !task.objective ? "objective" : "model");
  }
  const auto inside = [&](std::uint32_t sample) { return sample < task.data->size(); };
  if (!std::ranges::all_of(task.split.training, inside) ||
      !std::ranges::all_of(task.split.validation, inside)) {
    fail(ExitCode::kUsage, "the task's split names samples behind the last of its {}",
         task.data->size());
  }
  task.objective->require_targets(*task.data);
  if (!task.test) return;
  if (task.test->inputs() != task.data->inputs() || task.test->targets() != task.data->targets()) {
    fail(ExitCode::kBadData, "{}: its samples are of another kind than those of {}",
         task.test->source(), task.data->source());
  }
  task.objective->require_targets(*task.test);
}

// The default of --monitor is a metric that not every task has.
Settings settings_for(const Task& task, const ParsedSettings& parsed) {
  Settings settings = parsed.settings;
  if (settings.schedule.monitor == "loss" || task.objective->metric_name() == "accuracy") {
    return settings;
  }
  if (parsed.sources.at("monitor") != Source::kDefault) {
    fail(ExitCode::kUsage, "--monitor {}: what is trained here has no such metric: --monitor loss",
         settings.schedule.monitor);
  }
  settings.schedule.monitor = "loss";
  return settings;
}

ExitCode train(Session& session, const std::function<Task(const Launch&)>& make_task) {
  World& world = session.world();
  log_start(session);
  world.enter_phase(Phase::kDataCheck);
  std::optional<Task> task;
  Settings settings;
  together(world, [&] {
    session.faults().reach(FaultPlace::kLoad, world.rank());
    at::Generator generator = at::globalContext().defaultGenerator(at::kCPU);
    generator.set_current_seed(session.settings().train.seed);
    task = make_task(launch_of(session));
    require_complete(*task);
    settings = settings_for(*task, session.parsed());
  });
  require_equal_data(session, *task->data, task->test.get());
  return run_training(session, settings, [&] { return *std::move(task); });
}

}  // namespace

int train_main(int argc, char** argv, const Program& program,
               const std::function<Task(const Launch&)>& make_task) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  return run_program([&] {
    const Command command = command_of(program);
    for (const std::string& argument : arguments) {
      if (argument == "--help" || argument == "-h") {
        if (speaks()) {
          print_or_fail(command_help(command, std::filesystem::path(argv[0]).filename().string()));
        }
        return ExitCode::kDone;
      }
      if (argument == "--version") {
        if (speaks()) print_or_fail(version_text() + "\n");
        return ExitCode::kDone;
      }
    }
    install_stop_signals();
    Session session(command, arguments);
    return reporting(session.world(), [&] { return train(session, make_task); });
  });
}

Task image_classification(const Launch& launch, Model model) {
  return classification_task(launch.settings, load_images(launch.settings, launch.progress),
                             std::move(model));
}

Split split_samples(const Launch& launch, std::int64_t count) {
  return split_samples(count, launch.settings.data, launch.settings.model.name);
}

}  // namespace lockstep
