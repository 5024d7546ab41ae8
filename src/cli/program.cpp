#include "lockstep/cli/program.h"

#include <ATen/Context.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "command_line.h"
#include "lockstep/comm/together.h"
#include "lockstep/train/stop_signal.h"
#include "session.h"
#include "settings_table.h"
#include "training_job.h"
#include "training_run.h"

namespace lockstep {

namespace {

Command command_of(const Program& program) {
  if (program.name.empty() || program.name.find_first_of("/ \t\n") != std::string::npos) {
    fail(ExitCode::kUsage, "\"{}\" is no name of a program: expected one word", program.name);
  }
  CommandLine accepts;
  std::vector<std::string> meaningless;
  if (!program.images) {
    meaningless = {"augment", "data",     "label-smoothing", "rotation", "shift-x",
                   "shift-y", "stratify", "test-data",       "zoom"};
  }
  for (const std::string& name : meaningless) {
    accepts.reasons[name] = fmt::format("{} is trained on no images", program.name);
  }
  meaningless.emplace_back("convolution");
  for (const char* name : {"convolution", "model"}) {
    accepts.reasons[name] = fmt::format("{} brings a network of its own", program.name);
  }
  std::vector<std::string> without = meaningless;
  without.emplace_back("model");
  accepts.settings = settings_except(without);
  return {.name = program.name,
          .summary = program.summary,
          .accepts = std::move(accepts),
          .run = nullptr,
          .model = program.name,
          .meaningless = std::move(meaningless),
          .embedded_data = program.embedded_data};
}

Launch launch_of(Session& session) {
  World& world = session.world();
  return {.settings = session.settings(),
          .rank = world.rank(),
          .world_size = world.size(),
          .progress = [&world] { world.publish_progress(); }};
}

// It is a key of the records, among others.
void require_metric_name(const std::string& name) {
  constexpr std::string_view kTaken[] = {
      "kind",         "epoch",         "step",      "loss",      "samples",
      "seconds",      "learning_rate", "per_class", "confusion", "samples_per_second",
      "gradient_norm"};
  const bool plain = std::ranges::all_of(name, [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '_' || c == '-' || c == ' ';
  });
  if (plain && std::ranges::find(kTaken, name) == std::end(kTaken)) return;
  fail(ExitCode::kUsage,
       "a metric cannot be called \"{}\": expected letters, digits, _ and -, and "
       "none of the names in metrics.jsonl",
       name);
}

// What every rank has made for itself and no other comparison sees.
std::string description_of(const Task& task) {
  std::string text;
  for (const auto& item : task.model.module()->named_parameters()) {
    text += fmt::format("{} [{}]\n", item.key(), fmt::join(item.value().sizes(), ","));
  }
  for (const auto& item : task.model.module()->named_buffers()) {
    text += fmt::format("{} [{}]\n", item.key(), fmt::join(item.value().sizes(), ","));
  }
  return text + sha256_of(task.split);
}

void require_complete(const Task& task) {
  if (!task.data || !task.objective || !task.model.module()) {
    fail(ExitCode::kUsage, "the task has no {}",
         !task.data        ? "data"
         : !task.objective ? "objective"
                           : "model");
  }
  const auto inside = [&](std::uint32_t sample) { return sample < task.data->size(); };
  if (!std::ranges::all_of(task.split.training, inside) ||
      !std::ranges::all_of(task.split.validation, inside)) {
    fail(ExitCode::kUsage, "the task's split names samples behind the last of its {}",
         task.data->size());
  }
  require_metric_name(task.objective->metric_name());
  task.objective->require_targets(*task.data);
  if (!task.test) return;
  if (task.test->inputs() != task.data->inputs() || task.test->targets() != task.data->targets()) {
    fail(ExitCode::kBadData, "{}: its samples are of another kind than those of {}",
         task.test->source(), task.data->source());
  }
  task.objective->require_targets(*task.test);
}

// The default of --schedule needs a validation split, and that of --monitor a metric, that not
// every task has.
Settings settings_for(const Task& task, const ParsedSettings& parsed) {
  Settings settings = parsed.settings;
  if (task.split.validation.empty()) {
    if (parsed.sources.at("schedule") == Source::kDefault) settings.schedule.name = "constant";
    const auto problems = problems_without_validation(settings);
    if (!problems.empty()) fail(ExitCode::kUsage, "--{}", problems.front());
  }
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
  const Launch launch = launch_of(session);  // callbacks may keep a reference
  std::optional<Task> task;
  Settings settings;
  together(world, [&] {
    session.faults().reach(FaultPlace::kLoad, world.rank());
    at::Generator generator = at::globalContext().defaultGenerator(at::kCPU);
    generator.set_current_seed(session.settings().train.seed);
    if (session.device().is_cuda()) {
      generator = at::globalContext().defaultGenerator(session.device().device);
      generator.set_current_seed(session.settings().train.seed);
    }
    task = make_task(launch);
    require_complete(*task);
    settings = settings_for(*task, session.parsed());
  });
  require_equal_data(session, *task->data, task->test.get());
  session.require_equal(description_of(*task), "parameters or another split", ExitCode::kUsage);
  return run_training(session, settings, [&] { return *std::move(task); });
}

}  // namespace

int train_main(int argc, char** argv, const Program& program,
               const std::function<Task(const Launch&)>& make_task) {
  const std::vector<std::string> arguments(argv + std::min(argc, 1), argv + argc);
  return run_program([&] {
    const Command command = command_of(program);
    if (asks_for_help(arguments)) {
      if (speaks()) {
        print_or_fail(command_help(command, std::filesystem::path(argv[0]).filename().string()));
      }
      return ExitCode::kDone;
    }
    if (std::ranges::find(arguments, "--version") != arguments.end()) {
      if (speaks()) print_or_fail(version_text() + "\n");
      return ExitCode::kDone;
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
