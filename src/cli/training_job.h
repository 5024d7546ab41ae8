// One start of a training: the run that lockstep train, lockstep prove and programs of others make
// of a task.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "lockstep/cli/settings.h"
#include "lockstep/comm/collectives.h"
#include "lockstep/comm/world.h"
#include "lockstep/data/split.h"
#include "lockstep/model/compute_device.h"
#include "lockstep/train/samples.h"
#include "lockstep/train/task.h"
#include "lockstep/train/trainer.h"
#include "session.h"

namespace lockstep {

/// Labelled images: what the program's own networks are trained on.
struct TrainingData {
  std::shared_ptr<const ImageSamples> training;
  std::shared_ptr<const ImageSamples> test;  ///< null: there are none
  Split split;
};

/// What the settings name. Not collective. Throws as load_training, split_dataset and
/// require_same_shape do.
TrainingData load_images(const Settings& settings, const std::function<void()>& progress);

/// Collective: throws AgreedError{kBadData} naming the ranks whose samples are not the root's.
/// `test` may be null.
void require_equal_data(Session& session, const SampleSource& training, const SampleSource* test);

/// Loads and checks what the session's settings name. Collective; throws AgreedError, also when
/// ranks have other data than the root.
TrainingData load_training_data(Session& session);

/// These data, split and judged as the settings say, and a network for them.
Task classification_task(const Settings& settings, const TrainingData& data, Model model);
/// The network that the settings name, with the weights that follow from their seed, and these
/// data.
Task classification_task(const Settings& settings, const TrainingData& data);

/// A run in its directory, ready to train. Collective from the constructor on. What is passed by
/// reference must outlive it.
class TrainingJob {
 public:
  /// Finds the checkpoint that settings.train.resume means, if any, makes the task and its trainer,
  /// restores it, and only then opens the run directory `out` (the root's counts): a start that is
  /// refused writes nothing. epoch_steps: see TrainerConfig. Throws AgreedError.
  TrainingJob(World& world, const Settings& settings, const ComputeDevice& device,
              const std::function<Task()>& make_task, const std::filesystem::path& out,
              std::int64_t epoch_steps = 0);
  ~TrainingJob();
  TrainingJob(const TrainingJob&) = delete;
  TrainingJob& operator=(const TrainingJob&) = delete;

  Trainer& trainer() { return *trainer_; }
  /// The directory of the checkpoint it goes on from; on the root alone.
  const std::optional<std::filesystem::path>& resumed_from() const { return resumed_from_; }
  /// Ends the progress line and lets go of the run directory.
  void close();

 private:
  struct RootFiles;

  std::unique_ptr<Collectives> collectives_;
  std::unique_ptr<RootFiles> files_;  // outlives the trainer, which writes to them
  std::optional<Trainer> trainer_;
  std::optional<std::filesystem::path> resumed_from_;
};

}  // namespace lockstep
