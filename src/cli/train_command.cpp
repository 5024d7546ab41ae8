// lockstep train: from settings to a finished run directory.
#include <fmt/ranges.h>
#include <torch/version.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "command_line.h"
#include "lockstep/base/clock.h"
#include "lockstep/base/log.h"
#include "lockstep/base/text.h"
#include "lockstep/comm/together.h"
#include "lockstep/data/split.h"
#include "lockstep/records/run_directory.h"
#include "lockstep/train/checkpoint_reader.h"
#include "lockstep/train/stop_signal.h"
#include "lockstep/train/trainer.h"
#include "session.h"

namespace lockstep {

namespace {

using Json = nlohmann::ordered_json;

struct TrainingData {
  Dataset training;
  std::optional<Dataset> test;
  Split split;
  std::string training_sha256;
  std::string test_sha256;  // empty without test data
};

TrainingData load_data(Session& session) {
  World& world = session.world();
  world.enter_phase(Phase::kDataCheck);
  TrainingData data;
  together(world, [&] {
    const DataOptions& options = session.settings().data;
    data.training = load_training(options);
    data.test = load_test(options);
    if (data.test) require_same_shape(*data.test, data.training);
    data.split = split_dataset(data.training, options);
    data.training_sha256 = data.training.sha256();
    if (data.test) data.test_sha256 = data.test->sha256();
  });
  session.require_equal(data.training_sha256, "training data", ExitCode::kBadData);
  session.require_equal(data.test_sha256, "test data", ExitCode::kBadData);
  return data;
}

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

Json data_record(const TrainingData& data) {
  const auto entry = [](const Dataset& dataset, std::span<const std::uint32_t> indices) {
    return Json{{"samples", indices.size()}, {"class_counts", class_counts(dataset, indices)}};
  };
  Json record{{"source", data.training.source},
              {"sha256", data.training_sha256},
              {"shape", {data.training.channels, data.training.height, data.training.width}},
              {"training", entry(data.training, data.split.training)},
              {"validation", entry(data.training, data.split.validation)}};
  if (data.test) {
    record["test"] = entry(*data.test, all_indices(*data.test));
    record["test"]["source"] = data.test->source;
    record["test"]["sha256"] = data.test_sha256;
  }
  return record;
}

std::filesystem::path output_directory(const Settings& settings) {
  if (!settings.train.out.empty()) return settings.train.out;
  return std::filesystem::path("runs") / (settings.model.name + "-" + utc_file_stamp());
}

// On the root alone: the checkpoint to go on from, if any, checked against the settings.
std::optional<CheckpointStore::Loaded> find_checkpoint(const Settings& settings,
                                                       const std::filesystem::path& out) {
  const std::string& resume = settings.train.resume;
  if (resume == "none") return std::nullopt;
  std::optional<CheckpointStore::Loaded> loaded;
  if (resume == "auto") {
    std::vector<CheckpointStore::Skipped> skipped;
    const std::filesystem::path checkpoints = out / "checkpoints";
    if (std::filesystem::is_directory(checkpoints)) {
      loaded = CheckpointStore(checkpoints).load_latest(skipped);
    }
    for (const auto& [directory, reason] : skipped) {
      log_warning("{}: skipped: {}", directory.string(), reason);
    }
    if (!loaded && !skipped.empty()) {
      fail(ExitCode::kBadData, "{}: no checkpoint is good", checkpoints.string());
    }
  } else {
    loaded = load_checkpoint(resume);
  }
  if (!loaded) return std::nullopt;
  const TrainingState stored = read_state(*loaded);
  const auto problems = contradictions(stored.settings, settings);
  if (!problems.empty()) {
    fail(ExitCode::kSettings, "{}: cannot be continued with these settings:\n  {}",
         loaded->directory.string(), fmt::join(problems, "\n  "));
  }
  return loaded;
}

// What the root holds open while a run goes on.
struct RootFiles {
  RootFiles(RunDirectory directory, const Settings& settings)
      : run(std::move(directory)),
        records(run, settings.train.log_level != "info" && settings.train.log_level != "debug"),
        store(run.checkpoints(), {.keep = settings.train.keep_checkpoints}) {}
  RunDirectory run;
  RunRecords records;
  CheckpointStore store;
};

bool lies_in(const std::filesystem::path& checkpoint, const std::filesystem::path& store) {
  std::error_code ignored;
  return std::filesystem::equivalent(std::filesystem::absolute(checkpoint).parent_path(), store,
                                     ignored);
}

// A run may be gone on with in its own directory; anything else would mix two runs.
RunDirectory::Mode directory_mode(const Settings& settings, const std::filesystem::path& out) {
  const std::string& resume = settings.train.resume;
  const bool own = resume == "auto" || (resume != "none" && lies_in(resume, out / "checkpoints"));
  return own ? RunDirectory::Mode::kResumeOrNew : RunDirectory::Mode::kNew;
}

std::vector<CheckpointFile> files_of(const CheckpointStore::Loaded& loaded) {
  std::vector<CheckpointFile> files;
  for (const auto& [name, bytes] : loaded.files) files.push_back({name, bytes});
  return files;
}

// A run that goes on in a new directory takes along where it begins, and the best so far.
void take_along(const CheckpointStore::Loaded& loaded, const std::optional<Best>& best,
                CheckpointStore& store) {
  const std::filesystem::path home = std::filesystem::absolute(loaded.directory).parent_path();
  if (best && best->global_step != loaded.global_step) {
    if (const auto directory = CheckpointStore(home).find(best->global_step)) {
      store.save(best->global_step, files_of(load_checkpoint(*directory)), /*best=*/true);
    } else {
      log_warning("{}: the best checkpoint so far, of step {}, is not beside it",
                  loaded.directory.string(), best->global_step);
    }
  }
  store.save(loaded.global_step, files_of(loaded), best && best->global_step == loaded.global_step);
}

Json launch_record(Session& session, const TrainingData& data, const std::string& backend,
                   const std::vector<std::string>& hosts) {
  return {{"started", utc_timestamp()},
          {"world_size", session.world().size()},
          {"hosts", hosts},
          {"backend", backend},
          {"numerics", numerical_identity(session.device())},
          {"versions", version_text()},
          {"torch", TORCH_VERSION},
          {"data", data_record(data)}};
}

TrainerConfig trainer_config(const Settings& settings) {
  return {.train = settings.train,
          .augmentation = settings.effective_augmentation(),
          .optimizer = settings.optimizer,
          .schedule = settings.schedule,
          .settings = number_settings(settings)};
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
      log_info("stopped by SIGUSR1 after {}; --resume auto goes on", where);
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

ExitCode train(Session& session) {
  World& world = session.world();
  const Settings& settings = session.settings();
  log_info("{}, {} rank{}, {}", version_text(), world.size(), world.size() == 1 ? "" : "s",
           numerical_identity(session.device()));
  const TrainingData data = load_data(session);

  std::filesystem::path out;
  std::optional<CheckpointStore::Loaded> loaded;
  together(world, [&] {
    if (!world.is_root()) return;
    out = output_directory(settings);
    loaded = find_checkpoint(settings, out);
  });

  std::unique_ptr<Collectives> collectives;
  std::optional<Trainer> trainer;
  together(world, [&] {
    collectives =
        make_collectives(world, settings.comm, session.device().is_cuda(), session.device().stream);
    trainer.emplace(world, *collectives, session.device(), network_for(settings, data.training),
                    data.training, data.split, trainer_config(settings));
  });
  trainer->prove_equal_start();

  if (world.broadcast_value(loaded.has_value())) trainer->restore(loaded ? &*loaded : nullptr);

  const std::vector<std::string> hosts = world.gather_text(world.host());
  std::optional<RootFiles> files;
  together(world, [&] {
    if (!world.is_root()) return;
    files.emplace(RunDirectory::open(out, directory_mode(settings, out)), settings);
    files->run.write_config(settings_to_ini(settings));
    files->run.write_launch(
        launch_record(session, data, std::string(collectives->backend()), hosts).dump(2) + "\n");
    if (loaded && !lies_in(loaded->directory, files->run.checkpoints())) {
      take_along(*loaded, trainer->state().best, files->store);
    }
    trainer->attach(&files->records, &files->store);
    print_settings(settings);
    print_data(data);
    log_info("{}: {} parameters, {} steps an epoch of {} samples; writing to {}",
             settings.model.name, format_count(trainer->parameters().parameter_count()),
             trainer->steps_per_epoch(), trainer->global_batch(), out.string());
    if (loaded) {
      const Cursor& cursor = trainer->state().cursor;
      log_info("resumed after epoch {}, step {} from {}", cursor.epoch, cursor.global_step,
               loaded->directory.string());
    }
  });

  const Outcome outcome = trainer->run();
  if (outcome.reason == StopReason::kDone && data.test) {
    const auto test = trainer->evaluate_best(*data.test);
    if (test) {
      log_info("test: loss {:.4f}, accuracy {:.2f} % ({} images, {})", test->evaluation.loss,
               100 * test->evaluation.accuracy, format_count(test->evaluation.samples),
               test->best ? "best checkpoint" : "last weights");
    }
  }
  files.reset();  // ends the progress line
  if (world.is_root()) print_outcome(outcome, *trainer, settings, out);
  return outcome.reason == StopReason::kDone ? ExitCode::kDone : ExitCode::kStopped;
}

ExitCode run_train(const Command& command, std::span<const std::string> arguments) {
  install_stop_signal();
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
