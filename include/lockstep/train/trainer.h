// The training loop: every rank runs one Trainer on the same data with the same configuration.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lockstep/base/clock.h"
#include "lockstep/checkpoint/store.h"
#include "lockstep/checkpoint/writer.h"
#include "lockstep/comm/collectives.h"
#include "lockstep/comm/fault_plan.h"
#include "lockstep/comm/world.h"
#include "lockstep/data/sampler.h"
#include "lockstep/model/compute_device.h"
#include "lockstep/model/flat_parameters.h"
#include "lockstep/optim/device_inspection.h"
#include "lockstep/optim/optimizer.h"
#include "lockstep/optim/schedule.h"
#include "lockstep/sync/gradient_reducer.h"
#include "lockstep/sync/replica_check.h"
#include "lockstep/train/batch_reader.h"
#include "lockstep/train/decision.h"
#include "lockstep/train/evaluation.h"
#include "lockstep/train/options.h"
#include "lockstep/train/recorded_passes.h"
#include "lockstep/train/run_records.h"
#include "lockstep/train/task.h"
#include "lockstep/train/training_state.h"

namespace lockstep {

struct TrainerConfig {
  TrainOptions train;
  OptimizerOptions optimizer;
  ScheduleOptions schedule;
  /// The settings that define the numbers, name -> value: kept in state.json.
  std::map<std::string, std::string> settings;
  /// What else they depend on, of all ranks together: kept there too. A resume that finds another
  /// text says that it is not bit-exact.
  std::string numerics;
  /// With batch_size_per_rank: the global batch of the run that is gone on with, whatever the
  /// number of ranks is now; 0: a new run.
  std::int64_t global_batch = 0;
  /// Failures to rehearse: those that happen in the trainer or in its collectives.
  FaultPlan faults;
  /// For proofs, epochs of so many steps at most, >= 1: the epoch's first ones and its last one; 0:
  /// whole epochs. The schedule is that of whole epochs.
  std::int64_t epoch_steps = 0;
  /// Whether the batch of the step to come is read before the end of a step is waited for; default:
  /// on GPUs. No bit depends on it.
  std::optional<bool> read_ahead{};
  /// For tests: what records a step's passes, on whatever device; default: record_on_gpu on GPUs,
  /// with TrainOptions::cuda_graphs, of tasks that are recordable.
  Recorder recorder{};
};

/// How a run ended. kDone: all epochs, or early stopping.
struct Outcome {
  StopReason reason = StopReason::kDone;
  Cursor cursor;
  std::optional<Best> best;
};

/// Members are collective where they do not say otherwise: every rank calls them in the same order.
/// Everything passed by reference must outlive it. Not thread-safe.
class Trainer {
 public:
  /// Moves the model to the device. On a GPU it is made, and run, in the thread that has called
  /// prepare_compute_device. Not collective. Throws Error{kUsage} for options that do not
  /// fit the data, the model or the world.
  Trainer(World& world, Collectives& collectives, const ComputeDevice& device, Task task,
          const TrainerConfig& config);
  /// Not collective. Waits for a checkpoint that is being written.
  ~Trainer();
  Trainer(const Trainer&) = delete;
  Trainer& operator=(const Trainer&) = delete;

  /// Before anything else: takes memory for the gradients that the ranks share, where they can.
  /// Throws AgreedError{kDiverged} unless all ranks begin with the same weights.
  void begin_together();
  /// Whether gradients are summed in memory that the ranks share. Not collective.
  bool shares_gradients() const { return reducer_.shares_gradients(); }
  /// Whether the passes of steps are recorded and replayed. Not collective.
  bool replays() const { return recorded_passes_.records(); }

  /// Where the root writes to, after restore() if there is one; not collective. Records after the
  /// cursor are cut off, checkpoints after it set aside. Without it, and on all other ranks,
  /// nothing is written.
  void attach(RunRecords* records, CheckpointStore* store);

  /// Goes on from a checkpoint, which the root alone provides (null elsewhere). Throws
  /// AgreedError{kBadData | kSettings} on all ranks when it does not fit.
  void restore(const CheckpointStore::Loaded* loaded);

  /// Trains until all epochs are done, early stopping, a limit, or a request to stop. Checkpoints
  /// are written in the background, one at a time; the last one is durable when it returns, and
  /// that of an earlier step, or the reason why there is none is known, when it throws. Throws
  /// AgreedError{kDiverged} on all ranks when a reduced gradient is not finite (unless such steps
  /// are skipped) or replicas differ; what a checkpoint's writing has thrown after the next step,
  /// or at the end.
  Outcome run();

  /// The evaluation of a test set, and with which weights it was made.
  struct TestResult {
    Evaluation evaluation;
    bool best = false;  ///< those of the best checkpoint; else the last ones
  };
  /// Evaluates `data` with the best checkpoint of the store, or with the last weights (averaged
  /// where EMA is on) and a warning where it cannot be read, and records it as kind "test". The
  /// result is the root's; elsewhere empty.
  std::optional<TestResult> evaluate_best(const SampleSource& data);

  const Task& task() const { return task_; }
  const TrainingState& state() const { return state_; }
  const FlatParameters& parameters() const { return parameters_; }
  std::int64_t steps_per_epoch() const;
  std::int64_t global_batch() const { return global_batch_; }

 private:
  struct StepResult {
    LossSums sums;
    std::optional<double> gradient_norm{};  // where it is clipped
    bool skipped = false;
    bool preempted = false;
    bool interrupted = false;
    bool time_is_up = false;
    bool save_failed = false;
  };
  Outcome train();
  /// Of the step of this number within an epoch.
  Range batch_of(std::int64_t step) const;
  int pieces_of(std::int64_t size) const;
  void read_ahead();
  StepResult train_step();
  std::vector<Replica> replicas();
  void require_equal_replicas(const std::string& moment);
  void require_finite_weights(const std::string& moment);
  bool read_best_weights(at::Tensor& host, at::Tensor& buffer_values) const;
  TrainingState check_state(const CheckpointStore::Loaded& loaded) const;
  void compute_shard(Range positions, std::int64_t samples_in_step, int shard);
  void compute_piece(Range positions, std::int64_t samples_in_step, int shard, int piece);
  bool may_record() const;
  void seed_generators(std::uint32_t epoch, std::int64_t draw);
  at::Tensor pass_forward(const SampleBatch& batch, const StepContext& context,
                          std::int64_t samples_in_step);
  void pass_backward(const at::Tensor& objective);
  void wait_for_device();
  void write_votes();
  void queue_inspection();
  DeviceInspection::Result inspect_gradient();
  StepResult read_control_words(std::span<const float> word) const;
  std::optional<double> clip_gradients();
  void update_weights(std::int64_t step);
  bool is_finite(const at::Tensor& flat) const;
  std::vector<int> ranks_of_non_finite();
  void require_same_conclusion(std::int64_t step, bool finite, std::span<const float> control);
  void skip_or_stop(std::int64_t step);
  void count_step(const StepResult& result);
  void end_epoch();
  /// Evaluation rows of the validation split, in its order; on the root alone.
  std::vector<float> validate();
  bool calls(const auto& callback) const {
    return callback && (world_.is_root() || !task_.callbacks.root_only);
  }
  std::vector<PhaseSeconds> gather_seconds();
  void record(const std::function<void()>& work);
  void save_checkpoint(StopReason reason, bool best);
  void finish_checkpoint();
  void wait_for_writer();
  void settle_checkpoint();
  void swap_in_average();
  void broadcast_flat(const at::Tensor& flat, const char* name);
  StopReason reason_to_stop(const StepResult& result) const;
  bool reaches_limit(std::int64_t steps) const;
  bool is_checkpoint_step() const;

  void reach(FaultPlace place, std::int64_t step) {
    config_.faults.reach(place, world_.rank(), step);
  }
  void check_faults();
  const FlatParameters::View& view_of(const PlannedFault& fault) const;
  at::Tensor target_of(const PlannedFault& fault);
  at::Tensor with_faults(at::Tensor objective);
  void flip_weights();

  World& world_;
  std::shared_ptr<Collectives> collectives_;  // the caller's, or a decorator of it
  ComputeDevice device_;
  Task task_;
  TrainerConfig config_;
  RunRecords* records_ = nullptr;
  CheckpointStore* store_ = nullptr;
  FaultPlan writer_faults_;  // those of the writer's thread, which has passages of its own
  std::unique_ptr<CheckpointWriter> writer_;  // where there is a store

  std::int64_t global_batch_;
  Sampler sampler_;
  BatchReader reader_;
  FlatParameters parameters_;
  GradientReducer reducer_;
  std::unique_ptr<Optimizer> optimizer_;
  std::unique_ptr<Schedule> schedule_;
  std::optional<at::Tensor> average_;
  std::optional<DeviceInspection> inspection_;  // on a GPU
  RecordedPasses recorded_passes_;
  Evaluator evaluator_;
  TrainingState state_;
  bool stop_early_ = false;
  std::int64_t checked_step_ = -1;  // the global step of the last comparison of replicas

  Stopwatch since_start_;
  Stopwatch step_watch_;        // since the last step ended
  PhaseSeconds seconds_;        // of the current step
  PhaseSeconds epoch_seconds_;  // of the epoch, since this start
  at::Tensor conclusion_;       // int64 [2], for the comparison of what ranks conclude
};

}  // namespace lockstep
