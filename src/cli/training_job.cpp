#include "training_job.h"

#include <fmt/ranges.h>
#include <torch/version.h>

#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>

#include "checkpoint_choice.h"
#include "command_line.h"
#include "lockstep/base/clock.h"
#include "lockstep/base/file.h"
#include "lockstep/base/log.h"
#include "lockstep/checkpoint/store.h"
#include "lockstep/comm/launcher.h"
#include "lockstep/comm/together.h"
#include "lockstep/model/initialisation.h"
#include "lockstep/records/run_directory.h"
#include "lockstep/train/checkpoint_reader.h"

namespace lockstep {

namespace {

using Json = nlohmann::ordered_json;
using Progress = std::function<void()>;

Json samples_record(const Objective& objective, const SampleSource& source,
                    std::span<const std::uint32_t> samples) {
  Json record{{"samples", samples.size()}};
  if (objective.classes() > 0) {
    record["class_counts"] = class_counts(source, samples, objective.classes());
  }
  return record;
}

Json data_record(const Task& task) {
  const Objective& objective = *task.objective;
  Json record{{"source", task.data->source()},
              {"sha256", task.data->sha256()},
              {"kind", kind_of(*task.data)},
              {"shape", task.data->inputs().shape},
              {"training", samples_record(objective, *task.data, task.split.training)},
              {"validation", samples_record(objective, *task.data, task.split.validation)}};
  if (task.test) {
    record["test"] = samples_record(objective, *task.test, all_indices(task.test->size()));
    record["test"]["source"] = task.test->source();
    record["test"]["sha256"] = task.test->sha256();
  }
  return record;
}

// What the bits of this job's numbers depend on besides settings and data: on the root alone.
std::string job_numerics(World& world, const ComputeDevice& device, const Settings& settings) {
  const auto identities = world.gather_text(numerical_identity(device, settings.model));
  if (!world.is_root()) return {};
  std::string text = joint_identity(identities);
  // Without virtual ranks the order of summation follows from the number of ranks.
  if (settings.train.virtual_ranks == 0) text += fmt::format(" ranks={}", world.size());
  return text;
}

Json launch_record(const World& world, const std::string& numerics, const Task& task,
                   std::string_view backend, bool shared_memory, bool cuda_graphs,
                   const std::vector<std::string>& hosts, std::int64_t parameters) {
  return {{"started", utc_timestamp()},
          {"world_size", world.size()},
          {"hosts", hosts},
          {"backend", backend},
          {"shared_memory", shared_memory},
          {"cuda_graphs", cuda_graphs},
          {"numerics", numerics},
          {"versions", version_text()},
          {"torch", TORCH_VERSION},
          {"parameters", parameters},
          {"metric", task.objective->metric_name()},
          {"data", data_record(task)}};
}

TrainerConfig trainer_config(const Settings& settings, const std::string& numerics,
                             std::int64_t global_batch, std::int64_t epoch_steps) {
  return {.train = settings.train,
          .optimizer = settings.optimizer,
          .schedule = settings.schedule,
          .settings = number_settings(settings),
          .numerics = numerics,
          .global_batch = global_batch,
          .faults = FaultPlan::parse(settings.comm.inject_fault),
          .epoch_steps = epoch_steps};
}

std::optional<CheckpointStore::Loaded> newest_good(const std::filesystem::path& checkpoints,
                                                   const Progress& progress) {
  std::vector<CheckpointStore::Skipped> skipped;
  std::optional<CheckpointStore::Loaded> loaded;
  if (has_store(checkpoints)) {
    loaded = CheckpointStore(checkpoints).load_latest(skipped, progress);
  }
  for (const auto& [directory, reason] : skipped) {
    log_warning("{}: skipped: {}", directory.string(), reason);
  }
  if (!loaded && !skipped.empty()) {
    fail(ExitCode::kBadData, "{}: no checkpoint is good", checkpoints.string());
  }
  return loaded;
}

// A run that has decided has had its `checkpoints`: without them it is not one that has yet to
// begin.
void require_not_begun(const std::filesystem::path& out) {
  const std::filesystem::path decisions = out / "decisions.jsonl";
  std::error_code ignored;
  const auto size = std::filesystem::file_size(decisions, ignored);
  if (ignored || size == 0 || has_store(out / "checkpoints")) return;
  fail(ExitCode::kInputMissing, "{}: its checkpoints are not there, though {} tells of some",
       (out / "checkpoints").string(), decisions.string());
}

// On the root alone: the checkpoint to go on from, if any, checked against the settings.
std::optional<CheckpointStore::Loaded> find_checkpoint(const Settings& settings,
                                                       const std::filesystem::path& out,
                                                       const Progress& progress) {
  const std::filesystem::path resume = settings.train.resume;
  std::optional<CheckpointStore::Loaded> loaded;
  if (resume == "none") return loaded;
  if (resume == "auto") {
    loaded = newest_good(out / "checkpoints", progress);
    if (!loaded) {
      require_not_begun(out);
      return loaded;
    }
  } else if (const auto store = find_store(resume)) {
    loaded = newest_good(*store, progress);
    if (!loaded) fail(ExitCode::kInputMissing, "{}: this run has no checkpoint", resume.string());
  } else {
    loaded = load_checkpoint(resume, progress);
  }
  const TrainingState stored = read_state(*loaded);
  const auto problems = contradictions(stored.settings, settings);
  if (!problems.empty()) {
    fail(ExitCode::kSettings, "{}: cannot be continued with these settings:\n  {}",
         loaded->directory.string(), fmt::join(problems, "\n  "));
  }
  return loaded;
}

std::filesystem::path store_of(const CheckpointStore::Loaded& loaded) {
  std::filesystem::path directory = std::filesystem::absolute(loaded.directory);
  // With a slash behind it, or as ".", its parent would be itself.
  while (!directory.has_filename() || directory.filename() == ".") {
    directory = directory.parent_path();
  }
  return directory.parent_path();
}

bool lies_in(const CheckpointStore::Loaded& loaded, const std::filesystem::path& store) {
  std::error_code ignored;
  return std::filesystem::equivalent(store_of(loaded), store, ignored);
}

// Whether the store has it under the name of its step.
bool is_found(const CheckpointStore::Loaded& loaded, const CheckpointStore& store) {
  const auto found = store.find(loaded.global_step);
  std::error_code ignored;
  return found && std::filesystem::equivalent(*found, loaded.directory, ignored);
}

// The checkpoint says nothing of test data, which train nothing; the run's last start does.
void warn_of_other_test_data(const CheckpointStore::Loaded& loaded, const Task& task) {
  const std::filesystem::path file = store_of(loaded).parent_path() / "launch.json";
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(file, ignored)) return;
  const Json launch = Json::parse(read_text_file(file), nullptr, /*allow_exceptions=*/false);
  const Json::json_pointer place("/data/test/sha256");
  if (!launch.contains(place) || launch[place] == (task.test ? task.test->sha256() : "")) return;
  log_warning(
      "the test data are not those of this run's last start ({}): the test metrics of the two "
      "cannot be compared",
      file.string());
}

std::vector<CheckpointFile> files_of(const CheckpointStore::Loaded& loaded) {
  std::vector<CheckpointFile> files;
  for (const auto& [name, bytes] : loaded.files) files.push_back({name, bytes});
  return files;
}

// None where it is the checkpoint itself, or cannot be read: a run can do without it.
std::optional<CheckpointStore::Loaded> older_best(const CheckpointStore::Loaded& loaded,
                                                  const std::optional<Best>& best,
                                                  const Progress& progress) {
  if (!best || best->global_step == loaded.global_step) return std::nullopt;
  std::string reason = "is not beside it";
  if (const auto directory = CheckpointStore(store_of(loaded)).find(best->global_step)) {
    try {
      return load_checkpoint(*directory, progress);
    } catch (const Error& error) {
      reason = fmt::format("cannot be taken along: {}", error.what());
    }
  }
  log_warning("{}: the best checkpoint so far, of step {}, {}", loaded.directory.string(),
              best->global_step, reason);
  return std::nullopt;
}

// A run that goes on in a new directory takes along where it begins, and the best so far; all of it
// or nothing, so that the same start can be made again.
void take_along(const CheckpointStore::Loaded& loaded, const std::optional<Best>& best,
                const RunDirectory& run, CheckpointStore& store, const Progress& progress) {
  try {
    store.save(loaded.global_step, files_of(loaded), std::nullopt, progress);
    if (const auto older = older_best(loaded, best, progress)) {
      store.save(older->global_step, files_of(*older), older->global_step, progress);
    }
  } catch (...) {
    run.require_held();  // or else it is another run's by now
    std::error_code ignored;
    if (!run.existed()) std::filesystem::remove_all(run.checkpoints(), ignored);
    throw;
  }
}

// What is in a store, by name.
using Listing = std::vector<std::pair<std::int64_t, std::filesystem::path>>;

// A start reads before it holds the lock, so that one that is refused changes nothing: another run
// may have gone on meanwhile.
void require_unchanged(const Listing& seen, const CheckpointStore& store,
                       const std::filesystem::path& out) {
  if (store.list() == seen) return;
  fail(ExitCode::kCannotCreate,
       "{}: its checkpoints changed while this start was reading them: another run was writing "
       "there; start again",
       out.string());
}

}  // namespace

TrainingData load_images(const Settings& settings, const std::function<void()>& progress) {
  TrainingData data;
  auto training = std::make_shared<const Dataset>(load_training(settings.data, progress));
  auto test = load_test(settings.data, progress);
  if (test) require_same_shape(*test, *training);
  data.split = split_dataset(*training, settings.data);
  data.training = std::make_shared<const ImageSamples>(training, settings.effective_augmentation());
  if (test) {
    data.test =
        std::make_shared<const ImageSamples>(std::make_shared<const Dataset>(std::move(*test)));
  }
  return data;
}

TrainingData load_training_data(Session& session) {
  World& world = session.world();
  world.enter_phase(Phase::kDataCheck);
  TrainingData data;
  together(world, [&] {
    session.faults().reach(FaultPlace::kLoad, world.rank());
    data = load_images(session.settings(), [&world] { world.publish_progress(); });
  });
  require_equal_data(session, *data.training, data.test.get());
  return data;
}

void require_equal_data(Session& session, const SampleSource& training, const SampleSource* test) {
  session.require_equal(training.sha256(), "training data", ExitCode::kBadData);
  session.require_equal(test != nullptr ? test->sha256() : "", "test data", ExitCode::kBadData);
}

Task classification_task(const Settings& settings, const TrainingData& data, Model model) {
  return {.model = std::move(model),
          .data = data.training,
          .split = data.split,
          .objective = std::make_shared<Classification>(kClasses, settings.train.label_smoothing),
          .test = data.test};
}

Task classification_task(const Settings& settings, const TrainingData& data) {
  const std::shared_ptr<Network> network = network_for(settings, *data.training->images());
  initialise_glorot_uniform(*network, settings.train.seed);
  Task task = classification_task(settings, data, network);
  task.recordable = is_recordable(settings.model.name);
  return task;
}

// What the root holds open while a run goes on.
struct TrainingJob::RootFiles {
  RootFiles(RunDirectory directory, const Settings& settings)
      : run(std::move(directory)),
        store(run.checkpoints(), {.keep = settings.train.keep_checkpoints,
                                  .require_owned = [this] { run.require_held(); }}) {}
  RunDirectory run;
  CheckpointStore store;
  std::optional<RunRecords> records;
};

TrainingJob::TrainingJob(World& world, const Settings& settings, const ComputeDevice& device,
                         const std::function<Task()>& make_task, const std::filesystem::path& out,
                         std::int64_t epoch_steps) {
  std::optional<CheckpointStore::Loaded> loaded;
  std::int64_t global_batch = 0;  // of the run that is gone on with
  Listing seen;
  // The other ranks wait while the root reads and verifies.
  const Progress progress = [&world] { world.publish_progress(); };
  together(world, [&] {
    if (!world.is_root()) return;
    if (settings.train.resume != "none" && has_store(out / "checkpoints")) {
      seen = CheckpointStore(out / "checkpoints").list();
    }
    loaded = find_checkpoint(settings, out, progress);
    if (loaded) global_batch = read_state(*loaded).global_batch;
  });
  global_batch = world.broadcast_value(global_batch);
  collectives_ = make_collectives(world, settings.comm, device.is_cuda(), device.stream);
  const std::string numerics = job_numerics(world, device, settings);
  together(world, [&] {
    trainer_.emplace(world, *collectives_, device, make_task(),
                     trainer_config(settings, numerics, global_batch, epoch_steps));
  });
  trainer_->begin_together();
  if (world.broadcast_value(loaded.has_value())) trainer_->restore(loaded ? &*loaded : nullptr);

  const std::vector<std::string> hosts = world.gather_text(world.host());
  together(world, [&] {
    if (!world.is_root()) return;
    const Task& task = trainer_->task();
    if (loaded) warn_of_other_test_data(*loaded, task);
    // A run may be gone on with in its own directory; anything else would mix two runs.
    const bool own =
        settings.train.resume == "auto" || (loaded && lies_in(*loaded, out / "checkpoints"));
    using Mode = RunDirectory::Mode;
    files_ = std::make_unique<RootFiles>(
        RunDirectory::open(out, own ? Mode::kResumeOrNew : Mode::kNew), settings);
    CheckpointStore& store = files_->store;
    if (own) require_unchanged(seen, store, out);
    // Checkpoints first: what holds nothing else is not yet a run that could be gone on with.
    if (loaded && !lies_in(*loaded, files_->run.checkpoints())) {
      take_along(*loaded, trainer_->state().best, files_->run, store, progress);
    } else if (loaded && !is_found(*loaded, store)) {
      // It has another name, step-00000020.superseded perhaps, under which nothing finds it again;
      // what has the name that it gets belongs to another course.
      store.rewind(loaded->global_step - 1);
      store.save(loaded->global_step, files_of(*loaded), std::nullopt, progress);
    }
    store.create();  // from now on a run without it has lost its checkpoints
    files_->run.write_config(settings_to_ini(settings));
    Json launch =
        launch_record(world, numerics, task, collectives_->backend(), trainer_->shares_gradients(),
                      trainer_->replays(), hosts, trainer_->parameters().parameter_count());
    files_->run.write_launch(launch.dump(2) + "\n");
    const bool quiet = settings.train.log_level != "info" && settings.train.log_level != "debug";
    files_->records.emplace(files_->run, quiet, task.objective->metric_name());
    files_->records->at_first_step([&run = files_->run, launch = std::move(launch)]() mutable {
      const std::optional<double> seconds = seconds_since_start();
      if (!seconds) return;
      launch["first_step_seconds"] = std::round(100 * *seconds) / 100;
      run.require_held();  // or else it is another run's by now
      run.rewrite_launch(launch.dump(2) + "\n");
    });
    trainer_->attach(&*files_->records, &store);
    if (loaded) resumed_from_ = loaded->directory;
  });
}

TrainingJob::~TrainingJob() = default;

void TrainingJob::close() {
  trainer_->attach(nullptr, nullptr);
  files_.reset();
}

}  // namespace lockstep
