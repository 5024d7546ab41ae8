// lockstep train: from settings to a finished run directory.
#include <sstream>

#include "command_line.h"
#include "lockstep/base/clock.h"
#include "lockstep/base/file.h"
#include "lockstep/base/log.h"
#include "lockstep/base/text.h"
#include "lockstep/report/report.h"
#include "lockstep/train/stop_signal.h"
#include "lockstep/train/trainer.h"
#include "session.h"
#include "training_job.h"

namespace lockstep {

namespace {

std::string class_line(const std::string& name, const Dataset& dataset,
                       std::span<const std::uint32_t> indices) {
  std::string line =
      fmt::format("  {:<11}{:>7} ", name, format_count(static_cast<std::int64_t>(indices.size())));
  for (const std::int64_t count : class_counts(dataset, indices))
    line += fmt::format("{:>7}", count);
  return line;
}

void print_data(const TrainingData& data) {
  log_info("data: {} ({} images of {})", data.training.source, format_count(data.training.count),
           shape_text(data.training));
  std::string head = fmt::format("  {:<11}{:>7} ", "split", "images");
  for (int c = 0; c < kClasses; ++c) head += fmt::format("{:>7}", c);
  log_info("{}", head);
  log_info("{}", class_line("training", data.training, data.split.training));
  log_info("{}", class_line("validation", data.training, data.split.validation));
  if (data.test) log_info("{}", class_line("test", *data.test, all_indices(*data.test)));
}

// All of them, but a group a paragraph: config.ini has them a line each.
void print_settings(const Settings& settings) {
  constexpr std::size_t kColumns = 100;
  std::istringstream ini(settings_to_ini(settings));
  std::string text = "settings:";
  std::size_t column = kColumns;
  for (std::string line; std::getline(ini, line);) {
    if (line.empty()) column = kColumns;
    const std::size_t equals = line.find(" =");
    if (line.empty() || line[0] == '#' || equals == std::string::npos) continue;
    const std::string value = line.size() > equals + 3 ? line.substr(equals + 3) : "\"\"";
    const std::string item = line.substr(0, equals) + "=" + value;
    if (column + 1 + item.size() > kColumns) {
      text += "\n ";
      column = 1;
    }
    text += " " + item;
    column += 1 + item.size();
  }
  log_info("{}", text);
}

std::filesystem::path output_directory(const Settings& settings) {
  if (!settings.train.out.empty()) return settings.train.out;
  return std::filesystem::path("runs") / (settings.model.name + "-" + utc_file_stamp());
}

void print_outcome(const Outcome& outcome, const Trainer& trainer, const Settings& settings,
                   const std::filesystem::path& out) {
  if (outcome.best) {
    log_info("best validation {} {:.6g} in epoch {} (step {})", settings.schedule.monitor,
             outcome.best->metric, outcome.best->epoch, outcome.best->global_step);
  }
  const std::string where = fmt::format("epoch {} of {}, step {}", outcome.cursor.epoch,
                                        settings.train.epochs, outcome.cursor.global_step);
  switch (outcome.reason) {
    case StopReason::kPreempted:
      log_info("preempted (SIGUSR1) after {}; --resume auto goes on", where);
      break;
    case StopReason::kInterrupted:
      log_info("interrupted (SIGUSR2) after {}; --resume auto goes on", where);
      break;
    case StopReason::kLimit:
      log_info("stopped by its limit after {}; --resume auto with a higher limit goes on", where);
      break;
    default:
      log_info("done after {} ({} parameters)", where,
               format_count(trainer.parameters().parameter_count()));
  }
  log_info("results: {}", out.string());
}

// Nothing that goes wrong here is more than a warning: a run that is done is done.
void write_report(World& world, const TrainingData& data, const std::filesystem::path& out) {
  try {
    ImageSource images;
    images.provide(data.training_sha256, data.training);
    if (data.test) images.provide(data.test_sha256, *data.test);
    const std::vector<std::filesystem::path> runs{out};
    const Report report =
        make_report(runs, {.images = &images, .progress = [&world] { world.publish_progress(); }});
    for (const std::string& warning : report.warnings) log_warning("report: {}", warning);
    replace_file(out / "report.html", report.html);
    log_info("report: {}", (out / "report.html").string());
  } catch (...) {
    log_warning("the run is done, but there is no report of it: {}", caught_error().what());
  }
}

ExitCode train(Session& session) {
  World& world = session.world();
  const Settings& settings = session.settings();
  log_info("{}, {} rank{}, {}", version_text(), world.size(), world.size() == 1 ? "" : "s",
           numerical_identity(session.device()));
  const TrainingData data = load_training_data(session);
  std::filesystem::path out;
  if (world.is_root()) out = output_directory(settings);
  TrainingJob job(world, settings, session.device(), data, out);
  Trainer& trainer = job.trainer();
  if (world.is_root()) {
    print_settings(settings);
    print_data(data);
    log_info("{}: {} parameters, {} steps an epoch of {} samples; writing to {}",
             settings.model.name, format_count(trainer.parameters().parameter_count()),
             trainer.steps_per_epoch(), trainer.global_batch(), out.string());
    if (job.resumed_from()) {
      const Cursor& cursor = trainer.state().cursor;
      log_info("resumed after epoch {}, step {} from {}", cursor.epoch, cursor.global_step,
               job.resumed_from()->string());
    }
  }

  const Outcome outcome = trainer.run();
  if (outcome.reason == StopReason::kDone && data.test) {
    const auto test = trainer.evaluate_best(*data.test);
    if (test) {
      log_info("test: loss {:.4f}, accuracy {:.2f} % ({} images, {})", test->evaluation.loss,
               100 * test->evaluation.accuracy, format_count(test->evaluation.samples),
               test->best ? "best checkpoint" : "last weights");
    }
  }
  job.close();
  if (world.is_root()) print_outcome(outcome, trainer, settings, out);
  // A run that was stopped goes on: lockstep report makes a page of it where one is wanted.
  if (world.is_root() && outcome.reason == StopReason::kDone) write_report(world, data, out);
  session.faults().reach(FaultPlace::kShutdown, world.rank());
  return outcome.reason == StopReason::kDone ? ExitCode::kDone : ExitCode::kStopped;
}

ExitCode run_train(const Command& command, std::span<const std::string> arguments) {
  install_stop_signals();
  Session session(command, arguments);
  return reporting(session.world(), [&] { return train(session); });
}

}  // namespace

Command train_command() {
  CommandLine accepts;
  for (const NetworkEntry& entry : registered_networks()) accepts.models.push_back(entry.name);
  return {.name = "train",
          .summary = "train a network on labelled images and write a run directory",
          .accepts = std::move(accepts),
          .run = run_train};
}

}  // namespace lockstep
