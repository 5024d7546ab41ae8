#include "training_job.h"

#include <fmt/ranges.h>
#include <torch/version.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "command_line.h"
#include "lockstep/base/clock.h"
#include "lockstep/base/file.h"
#include "lockstep/base/log.h"
#include "lockstep/checkpoint/store.h"
#include "lockstep/comm/together.h"
#include "lockstep/records/run_directory.h"
#include "lockstep/train/checkpoint_reader.h"

namespace lockstep {

namespace {

using Json = nlohmann::ordered_json;
using Progress = std::function<void()>;

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

Json launch_record(const World& world, const ComputeDevice& device, const TrainingData& data,
                   std::string_view backend, const std::vector<std::string>& hosts,
                   std::int64_t parameters) {
  return {{"started", utc_timestamp()},
          {"world_size", world.size()},
          {"hosts", hosts},
          {"backend", backend},
          {"numerics", numerical_identity(device)},
          {"versions", version_text()},
          {"torch", TORCH_VERSION},
          {"parameters", parameters},
          {"data", data_record(data)}};
}

TrainerConfig trainer_config(const Settings& settings, std::int64_t epoch_steps) {
  return {.train = settings.train,
          .augmentation = settings.effective_augmentation(),
          .optimizer = settings.optimizer,
          .schedule = settings.schedule,
          .settings = number_settings(settings),
          .faults = FaultPlan::parse(settings.comm.inject_fault),
          .epoch_steps = epoch_steps};
}

std::optional<CheckpointStore::Loaded> newest_good(const std::filesystem::path& checkpoints,
                                                   const Progress& progress) {
  std::vector<CheckpointStore::Skipped> skipped;
  std::optional<CheckpointStore::Loaded> loaded;
  if (std::filesystem::is_directory(checkpoints)) {
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

// On the root alone: the checkpoint to go on from, if any, checked against the settings.
std::optional<CheckpointStore::Loaded> find_checkpoint(const Settings& settings,
                                                       const std::filesystem::path& out,
                                                       const Progress& progress) {
  const std::filesystem::path resume = settings.train.resume;
  std::optional<CheckpointStore::Loaded> loaded;
  if (resume == "none") return loaded;
  if (resume == "auto") {
    loaded = newest_good(out / "checkpoints", progress);
    if (!loaded) return loaded;
  } else if (std::filesystem::is_directory(resume / "checkpoints")) {
    loaded = newest_good(resume / "checkpoints", progress);
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
  return std::filesystem::absolute(loaded.directory).parent_path();
}

bool lies_in(const CheckpointStore::Loaded& loaded, const std::filesystem::path& store) {
  std::error_code ignored;
  return std::filesystem::equivalent(store_of(loaded), store, ignored);
}

// The checkpoint says nothing of test data, which train nothing; the run's last start does.
void warn_of_other_test_data(const CheckpointStore::Loaded& loaded, const TrainingData& data) {
  const std::filesystem::path file = store_of(loaded).parent_path() / "launch.json";
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(file, ignored)) return;
  const Json launch = Json::parse(read_text_file(file), nullptr, /*allow_exceptions=*/false);
  const Json::json_pointer place("/data/test/sha256");
  if (!launch.contains(place) || launch[place] == data.test_sha256) return;
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

// A run that goes on in a new directory takes along where it begins, and the best so far.
void take_along(const CheckpointStore::Loaded& loaded, const std::optional<Best>& best,
                CheckpointStore& store) {
  if (best && best->global_step != loaded.global_step) {
    if (const auto directory = CheckpointStore(store_of(loaded)).find(best->global_step)) {
      store.save(best->global_step, files_of(load_checkpoint(*directory)), /*best=*/true);
    } else {
      log_warning("{}: the best checkpoint so far, of step {}, is not beside it",
                  loaded.directory.string(), best->global_step);
    }
  }
  store.save(loaded.global_step, files_of(loaded), best && best->global_step == loaded.global_step);
}

}  // namespace

TrainingData load_training_data(Session& session) {
  World& world = session.world();
  world.enter_phase(Phase::kDataCheck);
  TrainingData data;
  together(world, [&] {
    session.faults().reach(FaultPlace::kLoad, world.rank());
    const DataOptions& options = session.settings().data;
    const Progress progress = [&world] { world.publish_progress(); };
    data.training = load_training(options, progress);
    data.test = load_test(options, progress);
    if (data.test) require_same_shape(*data.test, data.training);
    data.split = split_dataset(data.training, options);
    data.training_sha256 = data.training.sha256();
    if (data.test) data.test_sha256 = data.test->sha256();
  });
  session.require_equal(data.training_sha256, "training data", ExitCode::kBadData);
  session.require_equal(data.test_sha256, "test data", ExitCode::kBadData);
  return data;
}

// What the root holds open while a run goes on.
struct TrainingJob::RootFiles {
  RootFiles(RunDirectory directory, const Settings& settings)
      : run(std::move(directory)),
        records(run, settings.train.log_level != "info" && settings.train.log_level != "debug"),
        store(run.checkpoints(), {.keep = settings.train.keep_checkpoints}) {}
  RunDirectory run;
  RunRecords records;
  CheckpointStore store;
};

TrainingJob::TrainingJob(World& world, const Settings& settings, const ComputeDevice& device,
                         const TrainingData& data, const std::filesystem::path& out,
                         std::int64_t epoch_steps) {
  std::optional<CheckpointStore::Loaded> loaded;
  // The other ranks wait while the root reads and verifies.
  const Progress progress = [&world] { world.publish_progress(); };
  together(world, [&] {
    if (world.is_root()) loaded = find_checkpoint(settings, out, progress);
  });
  collectives_ = make_collectives(world, settings.comm, device.is_cuda(), device.stream);
  together(world, [&] {
    trainer_.emplace(world, *collectives_, device, network_for(settings, data.training),
                     data.training, data.split, trainer_config(settings, epoch_steps));
  });
  trainer_->prove_equal_start();
  if (world.broadcast_value(loaded.has_value())) trainer_->restore(loaded ? &*loaded : nullptr);

  const std::vector<std::string> hosts = world.gather_text(world.host());
  together(world, [&] {
    if (!world.is_root()) return;
    if (loaded) warn_of_other_test_data(*loaded, data);
    // A run may be gone on with in its own directory; anything else would mix two runs.
    const bool own =
        settings.train.resume == "auto" || (loaded && lies_in(*loaded, out / "checkpoints"));
    using Mode = RunDirectory::Mode;
    files_ = std::make_unique<RootFiles>(
        RunDirectory::open(out, own ? Mode::kResumeOrNew : Mode::kNew), settings);
    files_->run.write_config(settings_to_ini(settings));
    const Json launch = launch_record(world, device, data, collectives_->backend(), hosts,
                                      trainer_->parameters().parameter_count());
    files_->run.write_launch(launch.dump(2) + "\n");
    if (loaded && !lies_in(*loaded, files_->run.checkpoints())) {
      take_along(*loaded, trainer_->state().best, files_->store);
    }
    trainer_->attach(&files_->records, &files_->store);
    if (loaded) resumed_from_ = loaded->directory;
  });
}

TrainingJob::~TrainingJob() = default;

void TrainingJob::close() {
  trainer_->attach(nullptr, nullptr);
  files_.reset();
}

}  // namespace lockstep
