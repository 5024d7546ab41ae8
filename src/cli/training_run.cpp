#include "training_run.h"

#include <fcntl.h>
#include <fmt/ranges.h>

#include <sstream>

#include "command_line.h"
#include "lockstep/base/clock.h"
#include "lockstep/base/file.h"
#include "lockstep/base/log.h"
#include "lockstep/base/text.h"
#include "lockstep/records/progress.h"
#include "lockstep/report/report.h"
#include "lockstep/train/decision.h"
#include "lockstep/train/trainer.h"
#include "training_job.h"

namespace lockstep {

namespace {

// As many as a terminal has room for.
bool has_class_table(const Task& task) {
  return task.objective->classes() > 0 && task.objective->classes() <= 10;
}

void log_split(const Task& task, const std::string& name, const SampleSource& source,
               std::span<const std::uint32_t> samples) {
  std::string line =
      fmt::format("  {:<11}{:>7} ", name, format_count(static_cast<std::int64_t>(samples.size())));
  if (has_class_table(task)) {
    for (const std::int64_t count : class_counts(source, samples, task.objective->classes())) {
      line += fmt::format("{:>7}", count);
    }
  }
  log_info("{}", line);
}

void log_data(const Task& task) {
  const std::string kind = kind_of(*task.data);
  log_info("data: {} ({} {} of {})", task.data->source(), format_count(task.data->size()), kind,
           fmt::format("{}", fmt::join(task.data->inputs().shape, "x")));
  std::string head = fmt::format("  {:<11}{:>7} ", "split", kind);
  if (has_class_table(task)) {
    for (std::int64_t c = 0; c < task.objective->classes(); ++c) head += fmt::format("{:>7}", c);
  }
  log_info("{}", head);
  log_split(task, "training", *task.data, task.split.training);
  log_split(task, "validation", *task.data, task.split.validation);
  if (task.test) log_split(task, "test", *task.test, all_indices(task.test->size()));
}

// All of them, but a group a paragraph: config.ini has them a line each.
void log_settings(const Settings& settings) {
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

void log_outcome(const Outcome& outcome, const Trainer& trainer, const Settings& settings,
                 const std::filesystem::path& out) {
  if (outcome.best) {
    const bool has_validation = !trainer.task().split.validation.empty();
    log_info("best {} {:.6g} in epoch {} (step {})",
             judged_metric(has_validation, settings.schedule.monitor), outcome.best->metric,
             outcome.best->epoch, outcome.best->global_step);
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
void write_report(World& world, const Task& task, const std::filesystem::path& out,
                  const FileDescriptor& directory) {
  try {
    ImageSource images;
    for (const auto& source : {task.data, task.test}) {
      if (source && source->images() != nullptr)
        images.provide(source->sha256(), *source->images());
    }
    const std::vector<std::filesystem::path> runs{out};
    const Report report =
        make_report(runs, {.images = &images, .progress = [&world] { world.publish_progress(); }});
    for (const std::string& warning : report.warnings) log_warning("report: {}", warning);
    // The lock has gone: another run may have begun in a new directory of that name.
    if (!is_file_at(directory.get(), std::filesystem::canonical(out))) {
      fail(ExitCode::kCannotCreate, "{}: was removed or replaced meanwhile", out.string());
    }
    replace_file(out / "report.html", report.html);
    log_info("report: {}", (out / "report.html").string());
  } catch (...) {
    log_warning("the run is done, but there is no report of it: {}", caught_error().what());
  }
}

}  // namespace

void log_start(const Session& session) {
  const int ranks = session.world().size();
  log_info("{}, {} rank{}, {}", version_text(), ranks, ranks == 1 ? "" : "s",
           numerical_identity(session.device(), session.settings().model));
}

ExitCode run_training(Session& session, const Settings& settings,
                      const std::function<Task()>& make_task) {
  World& world = session.world();
  std::filesystem::path out;
  if (world.is_root()) out = output_directory(settings);
  TrainingJob job(world, settings, session.device(), make_task, out);
  Trainer& trainer = job.trainer();
  const Task& task = trainer.task();
  if (world.is_root()) {
    log_settings(settings);
    log_data(task);
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
  if (outcome.reason == StopReason::kDone && task.test) {
    const auto test = trainer.evaluate_best(*task.test);
    if (test) {
      const Evaluation& result = test->evaluation;
      log_info("test: {} ({} {}, {})",
               loss_text(result.loss, result.metric_name, result.metric, ", "),
               format_count(result.samples), kind_of(*task.test),
               test->best ? "best checkpoint" : "last weights");
    }
  }
  FileDescriptor directory;
  if (world.is_root()) {
    directory = FileDescriptor(::open(out.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  }
  job.close();
  if (world.is_root()) log_outcome(outcome, trainer, settings, out);
  // A run that was stopped goes on: lockstep report makes a page of it where one is wanted.
  if (world.is_root() && outcome.reason == StopReason::kDone) {
    write_report(world, task, out, directory);
  }
  session.faults().reach(FaultPlace::kShutdown, world.rank());
  return outcome.reason == StopReason::kDone ? ExitCode::kDone : ExitCode::kStopped;
}

}  // namespace lockstep
