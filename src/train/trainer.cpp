#include "lockstep/train/trainer.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <utility>

#include "lockstep/base/cast.h"
#include "lockstep/base/error.h"
#include "lockstep/base/log.h"
#include "lockstep/comm/decorators.h"
#include "lockstep/comm/together.h"

namespace lockstep {

namespace {

// Settings have no upper bound of their own.
std::int64_t product(std::int64_t a, std::int64_t b, const char* what) {
  std::int64_t result = 0;
  if (__builtin_mul_overflow(a, b, &result)) {
    fail(ExitCode::kUsage, "{} would be {} times {}: too many", what, a, b);
  }
  return result;
}

std::int64_t resolved_global_batch(const TrainerConfig& config, int world_size) {
  const TrainOptions& options = config.train;
  std::int64_t batch = options.batch_size;
  if (options.batch_size_per_rank > 0) {
    batch = config.global_batch > 0
                ? config.global_batch
                : product(options.batch_size_per_rank, world_size, "the global batch");
  }
  // Ranks sum their samples in float32, behind the gradients.
  constexpr std::int64_t kMost = std::int64_t{1} << 24;
  if (batch > kMost) fail(ExitCode::kUsage, "a global batch of {}: at most {}", batch, kMost);
  return batch;
}

std::unique_ptr<Optimizer> make_optimizer_for(const ComputeDevice& device,
                                              const OptimizerOptions& options, std::int64_t size) {
  const auto n = checked_cast<std::size_t>(size);
  return device.is_cuda() ? make_device_optimizer(options, n, device.stream)
                          : make_optimizer(options, n);
}

// Gradients, in float32, beyond which several ranks launch their passes one by one: a replay's sums
// begin behind it, and 16 MiB take as long, at 100 GB/s, as a few launches.
constexpr std::int64_t kMostUnhidden = (std::int64_t{16} << 20) / sizeof(float);

// Null: passes are never recorded.
Recorder recorder_for(const TrainerConfig& config, const Task& task, const ComputeDevice& device,
                      const World& world, const FlatParameters& parameters) {
  // What strikes in a pass of one step has no place in a recording.
  const bool strikes = std::ranges::any_of(config.faults.faults(), [](const PlannedFault& fault) {
    return fault.place == FaultPlace::kGradient;
  });
  if (!task.recordable || strikes) return {};
  if (config.recorder) return config.recorder;
  const bool hides_sums = world.size() > 1 && parameters.size() > kMostUnhidden;
  const bool records = device.is_cuda() && config.train.cuda_graphs && !hides_sums;
  return records ? Recorder(record_on_gpu) : Recorder();
}

std::shared_ptr<Collectives> with_faults_of(const FaultPlan& faults, Collectives& collectives,
                                            int rank) {
  std::shared_ptr<Collectives> borrowed(&collectives, [](Collectives*) {});
  return faults.empty() ? borrowed : make_faulty(std::move(borrowed), faults, rank);
}

}  // namespace

Trainer::Trainer(World& world, Collectives& collectives, const ComputeDevice& device, Task task,
                 const TrainerConfig& config)
    : world_(world),
      collectives_(with_faults_of(config.faults, collectives, world.rank())),
      device_(device),
      task_(std::move(task)),
      config_(config),
      writer_faults_(config.faults),
      global_batch_(resolved_global_batch(config, world.size())),
      sampler_(checked_cast<std::int64_t>(task_.split.training.size()), global_batch_,
               config.train.last_batch == "drop" ? LastBatch::kDrop : LastBatch::kKeep,
               config.train.seed),
      reader_(*task_.data, task_.split.training, sampler_, config.train.seed, device.is_cuda()),
      parameters_(task_.model.module(), device.device),
      reducer_(world, *collectives_, parameters_,
               {.bucket_mb = config.train.bucket_mb,
                .virtual_ranks = config.train.virtual_ranks,
                .reduce_type = reduce_type_of(config.train.reduce_dtype)}),
      optimizer_(make_optimizer_for(device, config.optimizer, parameters_.size())),
      schedule_(make_schedule(
          config.schedule,
          product(sampler_.steps_per_epoch(), config.train.epochs, "the number of steps"),
          world.size())),
      recorded_passes_(recorder_for(config, task_, device, world, parameters_), device.device),
      evaluator_(world, device, task_.model, config.train.evaluation_batch,
                 config.train.validation == "root") {
  require_current_stream(device);
  conclusion_ = at::empty({2}, at::TensorOptions().dtype(at::kLong).device(device.device));
  if (device.is_cuda()) inspection_.emplace(FlatParameters::kControlWords, device.stream);
  if (config.train.ema_decay > 0) average_ = parameters_.weights().clone();
  state_.seed = config.train.seed;
  state_.global_batch = global_batch_;
  state_.training_samples = checked_cast<std::int64_t>(task_.split.training.size());
  state_.data_sha256 = task_.data->sha256();
  state_.split_sha256 = sha256_of(task_.split);
  if (const Dataset* images = task_.data->images()) {
    state_.image_shape = {images->channels, images->height, images->width};
  }
  state_.numerics = config.numerics;
  state_.settings = config.settings;
  check_faults();
  task_.model.module()->train();
}

Trainer::~Trainer() {
  if (writer_) world_.let_finish({});
}

void Trainer::begin_together() {
  reducer_.share_gradients();
  check_replicas(world_, parameters_.views(), replicas(), "start");
  if (!collectives_->on_device() || world_.size() == 1) return;
  // The weights are equal already; this proves that the data plane works before anything depends on
  // it.
  broadcast_flat(parameters_.weights(), "initial weights");
}

Outcome Trainer::run() {
  require_current_stream(device_);
  try {
    return train();
  } catch (...) {
    settle_checkpoint();
    throw;
  }
}

Outcome Trainer::train() {
  const TrainOptions& options = config_.train;
  StepResult last;
  StopReason reason = StopReason::kNone;
  while (state_.cursor.epoch < options.epochs && !stop_early_ && reason == StopReason::kNone) {
    if ((reason = reason_to_stop(last)) != StopReason::kNone) break;
    world_.enter_phase(Phase::kTraining);
    if (records_ != nullptr) {
      records_->begin_epoch(state_.cursor.epoch + 1, options.epochs, steps_per_epoch(),
                            state_.cursor.step_in_epoch);
    }
    step_watch_ = {};
    epoch_seconds_ = {};
    while (state_.cursor.step_in_epoch < steps_per_epoch()) {
      last = train_step();
      if (last.save_failed) {
        finish_checkpoint();  // throws, or ends the job, unless a disk that hung goes on again
        world_.enter_phase(Phase::kTraining);
      }
      count_step(last);
      if (state_.cursor.step_in_epoch == steps_per_epoch()) break;
      if ((reason = reason_to_stop(last)) != StopReason::kNone) break;
      if (is_checkpoint_step()) save_checkpoint(StopReason::kNone, /*best=*/false);
    }
    if (reason != StopReason::kNone) {
      save_checkpoint(reason, /*best=*/false);
      break;
    }
    end_epoch();
    const bool done = stop_early_ || state_.cursor.epoch == options.epochs;
    reason = done ? StopReason::kDone : reason_to_stop(last);
    const bool best = state_.best && state_.best->global_step == state_.cursor.global_step;
    if (reason != StopReason::kNone || best || is_checkpoint_step() ||
        state_.cursor.epoch % options.checkpoint_every_epochs == 0) {
      save_checkpoint(reason, best);
    }
  }
  finish_checkpoint();
  world_.enter_phase(Phase::kShutdown);
  for (const std::string& name : config_.faults.never_struck(world_.rank())) {
    log_warning("--inject-fault: {} has not struck rank {} in this start", name, world_.rank());
  }
  if (reason == StopReason::kNone) reason = StopReason::kDone;
  return {.reason = reason, .cursor = state_.cursor, .best = state_.best};
}

bool Trainer::reaches_limit(std::int64_t steps) const {
  return config_.train.max_steps > 0 && steps >= config_.train.max_steps;
}

bool Trainer::is_checkpoint_step() const {
  const std::int64_t every = config_.train.checkpoint_every_steps;
  return every > 0 && state_.cursor.global_step % every == 0;
}

std::int64_t Trainer::steps_per_epoch() const {
  const std::int64_t all = sampler_.steps_per_epoch();
  return config_.epoch_steps > 0 ? std::min(config_.epoch_steps, all) : all;
}

Range Trainer::batch_of(std::int64_t step) const {
  // A shortened epoch keeps the last batch, which may be smaller than the others.
  const bool last = step + 1 == steps_per_epoch();
  return sampler_.global_batch(last ? sampler_.steps_per_epoch() - 1 : step);
}

// Writes down, on the root alone; a full disk ends the run on all ranks.
void Trainer::record(const std::function<void()>& work) {
  together(world_, [&] {
    if (records_ == nullptr) return;
    try {
      work();
    } catch (...) {
      wait_for_writer();  // of two failures the first: a checkpoint may have left no room
      throw;
    }
  });
}

void Trainer::count_step(const StepResult& result) {
  const double rate = schedule_->rate(state_.cursor.global_step);
  ++state_.cursor.step_in_epoch;
  ++state_.cursor.global_step;
  state_.epoch_sums.add(result.sums);
  state_.window_sums.add(result.sums);
  const bool is_recorded = state_.cursor.global_step % config_.train.log_every_steps == 0;
  if (records_ != nullptr) {
    records_->step_done(state_.cursor.step_in_epoch, result.sums, seconds_);
  }
  if (is_recorded) record([&] { records_->write_step(state_, rate, result.gradient_norm); });
  epoch_seconds_.add(seconds_);
  const PhaseSeconds seconds = std::exchange(seconds_, {});
  if (is_recorded) state_.window_sums = {};
  if (calls(task_.callbacks.on_step)) {
    task_.callbacks.on_step({.cursor = state_.cursor,
                             .samples = result.sums.samples,
                             .loss = result.sums.mean_loss(),
                             .metric = result.sums.mean_metric(),
                             .learning_rate = rate,
                             .gradient_norm = result.gradient_norm,
                             .skipped = result.skipped,
                             .seconds = seconds});
  }
  if (config_.train.check_replicas > 0 &&
      state_.cursor.global_step % config_.train.check_replicas == 0) {
    require_equal_replicas(fmt::format("step {}", state_.cursor.global_step));
  }
}

StopReason Trainer::reason_to_stop(const StepResult& result) const {
  if (result.interrupted) return StopReason::kInterrupted;
  if (result.preempted) return StopReason::kPreempted;
  if (result.time_is_up) return StopReason::kLimit;
  if (reaches_limit(state_.cursor.global_step)) return StopReason::kLimit;
  return StopReason::kNone;
}

}  // namespace lockstep
