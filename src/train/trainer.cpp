#include "lockstep/train/trainer.h"

#include <ATen/Context.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "lockstep/base/cast.h"
#include "lockstep/base/error.h"
#include "lockstep/base/log.h"
#include "lockstep/base/random.h"
#include "lockstep/comm/decorators.h"
#include "lockstep/comm/together.h"
#include "lockstep/optim/clipping.h"
#include "lockstep/train/stop_signal.h"

namespace lockstep {

namespace {

// The float32 words that travel behind the last gradient bucket. Counts are exact up to 2^24.
enum ControlWord : std::int64_t {
  kLoss,
  kMetric,
  kSamples,
  kPreemptVotes,
  kInterruptVotes,
  kTimeVotes,
  kSaveFailures
};

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
  if (options.batch_size_per_rank == 0) return options.batch_size;
  if (config.global_batch > 0) return config.global_batch;
  return product(options.batch_size_per_rank, world_size, "the global batch");
}

std::unique_ptr<Optimizer> make_optimizer_for(const ComputeDevice& device,
                                              const OptimizerOptions& options, std::int64_t size) {
  const auto n = checked_cast<std::size_t>(size);
  return device.is_cuda() ? make_device_optimizer(options, n, device.stream)
                          : make_optimizer(options, n);
}

std::shared_ptr<Collectives> with_faults_of(const FaultPlan& faults, Collectives& collectives,
                                            int rank) {
  std::shared_ptr<Collectives> borrowed(&collectives, [](Collectives*) {});
  return faults.empty() ? borrowed : make_faulty(std::move(borrowed), faults, rank);
}

bool reaches_limit(const TrainOptions& options, std::int64_t steps) {
  return options.max_steps > 0 && steps >= options.max_steps;
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
      evaluator_(world, device, task_.model, config.train.evaluation_batch,
                 config.train.validation == "root") {
  conclusion_ = at::empty({2}, at::TensorOptions().dtype(at::kLong).device(device.device));
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

Trainer::StepResult Trainer::train_step() {
  const std::int64_t step = state_.cursor.global_step;
  const Range batch = batch_of(state_.cursor.step_in_epoch);
  world_.at_step(step + 1);
  reducer_.begin_step(step + 1);
  write_votes();
  for (int local = 0; local < reducer_.local_shards(); ++local) {
    const int shard = reducer_.first_shard() + local;
    const Range positions = shard_of(batch, shard, reducer_.total_shards());
    compute_shard(positions, batch.size(), shard);
    reducer_.finish_shard(local);
    // Many shards a rank may take longer than a deadline: each is a sign of life.
    if (reducer_.local_shards() > 1) world_.publish_progress();
  }
  // A GPU is still at work, a CPU is not.
  if (config_.read_ahead.value_or(device_.is_cuda())) read_ahead();
  Stopwatch watch;
  reducer_.finish_step();
  const at::Tensor control = parameters_.control_words().cpu();
  seconds_.communication += watch.lap();
  // The reduced gradient has the same bits everywhere, so every rank concludes the same.
  const bool finite = is_finite(parameters_.gradients());
  seconds_.optimizer += watch.lap();
  require_same_conclusion(step, finite, control);
  seconds_.communication += watch.lap();
  StepResult result = read_control_words(control);
  result.skipped = !finite;
  if (result.skipped) {
    const PhaseSeconds before = seconds_;
    skip_or_stop(step);
    seconds_ = before;  // what it has computed anew is no part of a step's phases
    watch.lap();
    result.sums = {};  // its loss may not be finite either
  } else {
    result.gradient_norm = clip_gradients();
    update_weights(step);
    if (!parameters_.buffers().empty()) parameters_.buffers().apply(parameters_.buffer_changes());
  }
  flip_weights();
  seconds_.optimizer += watch.lap();
  seconds_.other = step_watch_.lap() - seconds_.total();
  return result;
}

// In how many pieces a shard of this size is computed.
int Trainer::pieces_of(std::int64_t size) const {
  return static_cast<int>(std::min<std::int64_t>(config_.train.accumulate, size));
}

// What the pieces add to gradients, control words and changes of buffers is the shard's.
void Trainer::compute_shard(Range positions, std::int64_t samples_in_step, int shard) {
  const int pieces = pieces_of(positions.size());
  for (int piece = 0; piece < pieces; ++piece) {
    const bool last = piece + 1 == pieces;
    reducer_.expect_more(!last);
    compute_piece(shard_of(positions, piece, pieces), samples_in_step, shard, piece);
    if (!last) world_.publish_progress();
  }
}

void Trainer::compute_piece(Range positions, std::int64_t samples_in_step, int shard, int piece) {
  Stopwatch watch;
  const auto epoch = checked_cast<std::uint32_t>(state_.cursor.epoch);
  const SampleBatch batch = reader_.read(epoch, positions);
  const std::int64_t count = positions.size();
  seconds_.data += watch.lap();

  const std::int64_t step = state_.cursor.global_step;
  const StepContext context{.training = true,
                            .seed = config_.train.seed,
                            .epoch = epoch,
                            .step = step,
                            .shard = shard,
                            .piece = piece,
                            .samples = batch.keys.to(device_.device)};
  // For networks that draw from LibTorch's own generator: another number for every piece.
  const std::int64_t draw = shard + std::int64_t{piece} * reducer_.total_shards();
  const auto words = random_words({.seed = config_.train.seed,
                                   .purpose = Purpose::kReseed,
                                   .epoch = epoch,
                                   .sample = static_cast<std::uint64_t>(step)},
                                  checked_cast<std::uint32_t>(draw));
  const std::uint64_t generator_seed = static_cast<std::uint64_t>(words[0]) << 32 | words[1];
  at::Generator generator = at::globalContext().defaultGenerator(at::kCPU);
  generator.set_current_seed(generator_seed);
  if (device_.is_cuda()) {
    generator = at::globalContext().defaultGenerator(device_.device);
    generator.set_current_seed(generator_seed);
  }

  reach(FaultPlace::kForward, step + 1);
  const at::Tensor targets = batch.targets.to(device_.device);
  const at::Tensor outputs = task_.model.forward(batch.inputs.to(device_.device), context);
  const at::Tensor loss = task_.objective->loss_sum(outputs, targets);
  // Before backward, during which the last bucket may leave.
  {
    const at::NoGradGuard no_grad;
    const at::Tensor control = parameters_.control_words();
    control[kLoss].add_(loss.detach());
    if (!task_.objective->metric_name().empty()) {
      control[kMetric].add_(task_.objective->metric_sum(outputs, targets));
    }
    control[kSamples].add_(static_cast<double>(count));
  }
  const ModuleBuffers& buffers = parameters_.buffers();
  if (!buffers.empty()) {
    buffers.take_changes(parameters_.buffer_changes(),
                         static_cast<double>(count) / static_cast<double>(samples_in_step),
                         /*first=*/shard == 0 && piece == 0);
  }
  seconds_.forward += watch.lap();
  with_faults(loss / static_cast<double>(samples_in_step)).backward();
  if (!buffers.empty()) buffers.restore();
  seconds_.backward += watch.lap();
}

// What the next step begins with, if there is one in this epoch. The batch before it has been
// copied to the GPU, where there is one. What cannot be read stops the step that needs it, not this
// one.
void Trainer::read_ahead() {
  Stopwatch watch;
  const std::int64_t step = state_.cursor.step_in_epoch + 1;
  if (step == steps_per_epoch() || reaches_limit(config_.train, state_.cursor.global_step + 1)) {
    return;
  }
  const Range shard = shard_of(batch_of(step), reducer_.first_shard(), reducer_.total_shards());
  if (shard.size() == 0) return;
  const Range piece = shard_of(shard, 0, pieces_of(shard.size()));
  reader_.read_ahead(checked_cast<std::uint32_t>(state_.cursor.epoch), piece);
  seconds_.data += watch.lap();
}

void Trainer::write_votes() {
  const TrainOptions& options = config_.train;
  const at::Tensor control = parameters_.control_words();
  const StopReason requested = requested_stop();
  if (requested == StopReason::kPreempted) control[kPreemptVotes].fill_(1);
  if (requested == StopReason::kInterrupted) control[kInterruptVotes].fill_(1);
  // Also of a disk that hangs: what waits for it has a deadline, training has none.
  if (writer_ && (writer_->failed() || writer_->silent_seconds() > world_.collective_timeout())) {
    control[kSaveFailures].fill_(1);
  }
  if (options.max_minutes > 0 && since_start_.seconds() >= 60 * options.max_minutes) {
    control[kTimeVotes].fill_(1);
  }
}

Trainer::StepResult Trainer::read_control_words(const at::Tensor& host) const {
  const float* word = host.const_data_ptr<float>();
  const bool counts = task_.objective->classes() > 0;
  const bool is_count = counts && std::isfinite(word[kMetric]);
  return {.sums = {.loss = word[kLoss],
                   .correct = is_count ? static_cast<std::int64_t>(word[kMetric]) : 0,
                   .metric = counts ? 0 : word[kMetric],
                   .samples = static_cast<std::int64_t>(word[kSamples])},
          .preempted = word[kPreemptVotes] > 0,
          .interrupted = word[kInterruptVotes] > 0,
          .time_is_up = word[kTimeVotes] > 0,
          .save_failed = word[kSaveFailures] > 0};
}

std::optional<double> Trainer::clip_gradients() {
  const double limit = config_.train.clip_norm;
  if (limit == 0) return std::nullopt;
  auto* gradient = parameters_.gradients().mutable_data_ptr<float>();
  const auto n = checked_cast<std::size_t>(parameters_.size());
  return device_.is_cuda() ? clip_by_norm_on_device(gradient, n, limit, device_.stream)
                           : clip_by_norm(gradient, n, limit);
}

void Trainer::update_weights(std::int64_t step) {
  auto* weights = parameters_.weights().mutable_data_ptr<float>();
  optimizer_->step(weights, parameters_.gradients().const_data_ptr<float>(), schedule_->rate(step));
  if (!average_) return;
  const auto size = checked_cast<std::size_t>(parameters_.size());
  auto* average = average_->mutable_data_ptr<float>();
  if (device_.is_cuda()) {
    update_average_on_device(average, weights, size, config_.train.ema_decay, device_.stream);
  } else {
    update_average(average, weights, size, config_.train.ema_decay);
  }
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
  const TrainOptions& options = config_.train;
  if (result.interrupted) return StopReason::kInterrupted;
  if (result.preempted) return StopReason::kPreempted;
  if (result.time_is_up) return StopReason::kLimit;
  if (reaches_limit(options, state_.cursor.global_step)) return StopReason::kLimit;
  return StopReason::kNone;
}

}  // namespace lockstep
