#include "lockstep/train/trainer.h"

#include <ATen/Context.h>
#include <ATen/ops/argmax.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <utility>

#include "checkpoint_files.h"
#include "lockstep/base/cast.h"
#include "lockstep/base/error.h"
#include "lockstep/base/log.h"
#include "lockstep/base/random.h"
#include "lockstep/comm/together.h"
#include "lockstep/model/initialisation.h"
#include "lockstep/model/loss.h"
#include "lockstep/sync/replica_check.h"
#include "lockstep/train/checkpoint_reader.h"
#include "lockstep/train/stop_signal.h"

namespace lockstep {

namespace {

// The float32 words that travel behind the last gradient bucket. Counts are exact up to 2^24.
enum ControlWord : std::int64_t { kLoss, kCorrect, kSamples, kPreemptVotes, kTimeVotes };

// Settings have no upper bound of their own.
std::int64_t product(std::int64_t a, std::int64_t b, const char* what) {
  std::int64_t result = 0;
  if (__builtin_mul_overflow(a, b, &result)) {
    fail(ExitCode::kUsage, "{} would be {} times {}: too many", what, a, b);
  }
  return result;
}

std::int64_t resolved_global_batch(const TrainOptions& options, int world_size) {
  if (options.batch_size_per_rank == 0) return options.batch_size;
  return product(options.batch_size_per_rank, world_size, "the global batch");
}

std::span<std::byte> bytes_of(at::Tensor& host) {
  return std::as_writable_bytes(
      std::span(host.mutable_data_ptr<float>(), checked_cast<std::size_t>(host.numel())));
}

std::unique_ptr<Optimizer> make_optimizer_for(const ComputeDevice& device,
                                              const OptimizerOptions& options, std::int64_t size) {
  const auto n = checked_cast<std::size_t>(size);
  return device.is_cuda() ? make_device_optimizer(options, n, device.stream)
                          : make_optimizer(options, n);
}

// A flat tensor over an optimizer's own memory, on whatever device it lies.
at::Tensor state_tensor(const Optimizer::State& state, const at::Tensor& like) {
  return at::from_blob(state.values, {like.numel()}, like.options());
}

HostBuffers host_copies(const FlatParameters& parameters, Optimizer& optimizer,
                        const std::optional<at::Tensor>& average) {
  HostBuffers buffers;
  buffers.weights = parameters.weights().cpu();
  if (average) buffers.average = average->cpu();
  for (const Optimizer::State& state : optimizer.state()) {
    buffers.optimizer.push_back({state.prefix, state_tensor(state, parameters.weights()).cpu()});
  }
  return buffers;
}

}  // namespace

Trainer::Trainer(World& world, Collectives& collectives, const ComputeDevice& device,
                 std::shared_ptr<Network> network, const Dataset& data, const Split& split,
                 const TrainerConfig& config)
    : world_(world),
      collectives_(collectives),
      device_(device),
      network_(std::move(network)),
      data_(data),
      split_(split),
      config_(config),
      global_batch_(resolved_global_batch(config.train, world.size())),
      sampler_(checked_cast<std::int64_t>(split.training.size()), global_batch_,
               config.train.last_batch == "drop" ? LastBatch::kDrop : LastBatch::kKeep,
               config.train.seed),
      batches_(data, config.augmentation, config.train.seed),
      parameters_((initialise_glorot_uniform(*network_, config.train.seed), network_),
                  device.device),
      reducer_(world, collectives, parameters_,
               {.bucket_mb = config.train.bucket_mb, .virtual_ranks = config.train.virtual_ranks}),
      optimizer_(make_optimizer_for(device, config.optimizer, parameters_.size())),
      schedule_(make_schedule(
          config.schedule,
          product(sampler_.steps_per_epoch(), config.train.epochs, "the number of steps"),
          world.size())),
      evaluator_(world, device, *network_, config.train.evaluation_batch,
                 config.train.validation == "root") {
  LOCKSTEP_CHECK(network_->buffers().empty(), "networks with buffers are not supported");
  if (config.train.ema_decay > 0) average_ = parameters_.weights().clone();
  state_.seed = config.train.seed;
  state_.global_batch = global_batch_;
  state_.training_samples = checked_cast<std::int64_t>(split.training.size());
  state_.data_sha256 = data.sha256();
  state_.numerics = numerical_identity(device);
  // Without virtual ranks the order of summation follows from the number of ranks.
  if (config.train.virtual_ranks == 0) state_.numerics += fmt::format(" ranks={}", world.size());
  state_.settings = config.settings;
  network_->train();
}

void Trainer::prove_equal_start() {
  check_replicas(world_, parameters_, "start");
  if (!collectives_.on_device() || world_.size() == 1) return;
  // The weights are equal already; this proves that the data plane works before anything depends on
  // it.
  const Buffer weights{.data = parameters_.weights().mutable_data_ptr(),
                       .count = checked_cast<std::size_t>(parameters_.size()),
                       .type = DataType::kFloat32};
  collectives_.broadcast(weights, 0, {.name = "initial weights"})->wait();
  collectives_.synchronize();
}

void Trainer::attach(RunRecords* records, CheckpointStore* store) {
  records_ = records;
  store_ = store;
  if (records_ != nullptr) records_->cut_back(state_.cursor);
  if (store_ == nullptr) return;
  store_->rewind(state_.cursor.global_step);
  // The hint may be that of another course, or of the moment before a crash.
  if (state_.best && store_->find(state_.best->global_step)) {
    store_->mark_best(state_.best->global_step);
  }
}

TrainingState Trainer::check_state(const CheckpointStore::Loaded& loaded) const {
  const TrainingState stored = read_state(loaded);
  if (stored.global_batch != state_.global_batch) {
    fail(ExitCode::kSettings, "the checkpoint's global batch is {}, this run's {}",
         stored.global_batch, state_.global_batch);
  }
  if (stored.data_sha256 != state_.data_sha256 ||
      stored.training_samples != state_.training_samples) {
    fail(ExitCode::kSettings,
         "the checkpoint was trained on other data ({} training samples, SHA-256 {}; now {}, {})",
         stored.training_samples, stored.data_sha256, state_.training_samples, state_.data_sha256);
  }
  if (stored.numerics != state_.numerics) {
    log_warning(
        "this resume is not bit-exact: the checkpoint was written with \"{}\", this is \"{}\"",
        stored.numerics, state_.numerics);
  }
  return stored;
}

void Trainer::restore(const CheckpointStore::Loaded* loaded) {
  HostBuffers buffers = host_copies(parameters_, *optimizer_, average_);
  std::string json;
  together(world_, [&] {
    if (!world_.is_root()) return;
    LOCKSTEP_CHECK(loaded != nullptr, "the root has no checkpoint to restore");
    json = encode_state(check_state(*loaded));
    decode_checkpoint(*loaded, parameters_.views(), buffers);
  });

  const auto settings = std::move(state_.settings);
  const auto numerics = std::move(state_.numerics);
  state_ = decode_state(world_.broadcast_text(std::move(json)), kStateFile);
  state_.settings = settings;
  state_.numerics = numerics;
  schedule_->load(state_.schedule);
  optimizer_->set_step_count(state_.optimizer_steps);
  stop_early_ = config_.train.early_stopping > 0 &&
                state_.epochs_without_gain >= config_.train.early_stopping;
  const at::NoGradGuard no_grad;
  world_.broadcast(bytes_of(buffers.weights));
  at::Tensor weights = parameters_.weights();
  weights.copy_(buffers.weights);
  if (average_) {
    world_.broadcast(bytes_of(*buffers.average));
    average_->copy_(*buffers.average);
  }
  const auto states = optimizer_->state();
  for (std::size_t i = 0; i < states.size(); ++i) {
    world_.broadcast(bytes_of(buffers.optimizer[i].values));
    state_tensor(states[i], parameters_.weights()).copy_(buffers.optimizer[i].values);
  }
}

Outcome Trainer::run() {
  const TrainOptions& options = config_.train;
  StepResult last;
  StopReason reason = StopReason::kNone;
  while (state_.cursor.epoch < options.epochs && !stop_early_ && reason == StopReason::kNone) {
    if ((reason = reason_to_stop(last)) != StopReason::kNone) break;
    world_.enter_phase(Phase::kTraining);
    if (records_ != nullptr) {
      records_->begin_epoch(state_.cursor.epoch + 1, options.epochs, sampler_.steps_per_epoch(),
                            state_.cursor.step_in_epoch);
    }
    step_watch_ = {};
    while (state_.cursor.step_in_epoch < sampler_.steps_per_epoch()) {
      last = train_step();
      count_step(last);
      if (state_.cursor.step_in_epoch == sampler_.steps_per_epoch()) break;
      if ((reason = reason_to_stop(last)) != StopReason::kNone) break;
      if (options.checkpoint_every_steps > 0 &&
          state_.cursor.global_step % options.checkpoint_every_steps == 0) {
        save_checkpoint(StopReason::kNone, /*best=*/false);
      }
    }
    if (reason != StopReason::kNone) {
      save_checkpoint(reason, /*best=*/false);
      break;
    }
    end_epoch();
    const bool done = stop_early_ || state_.cursor.epoch == options.epochs;
    reason = done ? StopReason::kDone : reason_to_stop(last);
    const bool best = state_.best && state_.best->global_step == state_.cursor.global_step;
    if (reason != StopReason::kNone || best ||
        state_.cursor.epoch % options.checkpoint_every_epochs == 0) {
      save_checkpoint(reason, best);
    }
  }
  world_.enter_phase(Phase::kShutdown);
  if (reason == StopReason::kNone) reason = StopReason::kDone;
  return {.reason = reason, .cursor = state_.cursor, .best = state_.best};
}

Trainer::StepResult Trainer::train_step() {
  const std::int64_t step = state_.cursor.global_step;
  const Range batch = sampler_.global_batch(state_.cursor.step_in_epoch);
  reducer_.begin_step(step + 1);
  write_votes();
  for (int local = 0; local < reducer_.local_shards(); ++local) {
    const int shard = reducer_.first_shard() + local;
    const Range positions = shard_of(batch, shard, reducer_.total_shards());
    if (positions.size() > 0) compute_shard(positions, batch.size(), shard);
    reducer_.finish_shard(local);
    // Many shards a rank may take longer than a deadline: each is a sign of life.
    if (reducer_.local_shards() > 1) world_.publish_progress();
  }
  Stopwatch watch;
  reducer_.finish_step();
  const StepResult result = read_control_words();
  seconds_.communication += watch.lap();
  update_weights(step);
  seconds_.optimizer += watch.lap();
  seconds_.other = step_watch_.lap() - seconds_.total();
  return result;
}

void Trainer::compute_shard(Range positions, std::int64_t samples_in_step, int shard) {
  Stopwatch watch;
  const auto epoch = checked_cast<std::uint32_t>(state_.cursor.epoch);
  sampler_.order(epoch, positions, samples_);
  for (std::uint32_t& sample : samples_) sample = split_.training[sample];
  const std::int64_t count = positions.size();
  if (!images_.defined() || images_.size(0) < count) {
    const auto options = at::TensorOptions().pinned_memory(device_.is_cuda());
    images_ =
        at::empty({count, data_.channels, data_.height, data_.width}, options.dtype(at::kFloat));
    labels_ = at::empty({2, count}, options.dtype(at::kLong));
  }
  at::Tensor images = images_.narrow(0, 0, count);
  at::Tensor labels = labels_[0].narrow(0, 0, count);
  at::Tensor keys = labels_[1].narrow(0, 0, count);
  batches_.fill(samples_, epoch, config_.augmentation.enabled(), images.mutable_data_ptr<float>(),
                labels.mutable_data_ptr<std::int64_t>());
  std::copy(samples_.begin(), samples_.end(), keys.mutable_data_ptr<std::int64_t>());
  seconds_.data += watch.lap();

  const std::int64_t step = state_.cursor.global_step;
  const StepContext context{.training = true,
                            .seed = config_.train.seed,
                            .epoch = epoch,
                            .step = step,
                            .shard = shard,
                            .samples = keys.to(device_.device)};
  // For networks that draw from LibTorch's own generator.
  const auto words = random_words({.seed = config_.train.seed,
                                   .purpose = Purpose::kReseed,
                                   .epoch = epoch,
                                   .sample = static_cast<std::uint64_t>(step)},
                                  static_cast<std::uint32_t>(shard));
  at::Generator generator = at::globalContext().defaultGenerator(device_.device);
  generator.set_current_seed(static_cast<std::uint64_t>(words[0]) << 32 | words[1]);

  const at::Tensor targets = labels.to(device_.device);
  const at::Tensor logits = network_->forward(images.to(device_.device), context);
  const at::Tensor loss = cross_entropy_sum(logits, targets, config_.train.label_smoothing);
  {
    const at::NoGradGuard no_grad;
    const at::Tensor control = parameters_.control_words();
    control[kLoss].add_(loss.detach());
    control[kCorrect].add_(logits.argmax(1).eq(targets).sum());
    control[kSamples].add_(static_cast<double>(count));
  }
  seconds_.forward += watch.lap();
  (loss / static_cast<double>(samples_in_step)).backward();
  seconds_.backward += watch.lap();
}

void Trainer::write_votes() {
  const TrainOptions& options = config_.train;
  const at::Tensor control = parameters_.control_words();
  if (stop_requested()) control[kPreemptVotes].fill_(1);
  if (options.max_minutes > 0 && since_start_.seconds() >= 60 * options.max_minutes) {
    control[kTimeVotes].fill_(1);
  }
}

Trainer::StepResult Trainer::read_control_words() {
  const at::Tensor words = parameters_.control_words().cpu();
  const float* word = words.const_data_ptr<float>();
  return {.sums = {.loss = word[kLoss],
                   .correct = static_cast<std::int64_t>(word[kCorrect]),
                   .samples = static_cast<std::int64_t>(word[kSamples])},
          .preempted = word[kPreemptVotes] > 0,
          .time_is_up = word[kTimeVotes] > 0};
}

void Trainer::update_weights(std::int64_t step) {
  const at::Tensor& gradients = parameters_.gradients();
  const auto n = checked_cast<std::size_t>(gradients.numel());
  const auto* gradient = gradients.const_data_ptr<float>();
  // The reduced gradient has the same bits everywhere, so every rank concludes the same.
  const bool finite = device_.is_cuda() ? all_finite_on_device(gradient, n, device_.stream)
                                        : all_finite(gradient, n);
  if (!finite) {
    fail_together(world_, ExitCode::kDiverged,
                  fmt::format("step {}: the sum of all ranks' gradients is not finite; the weights "
                              "are those of step {}; a smaller --learning-rate may help",
                              step + 1, step));
  }
  auto* weights = parameters_.weights().mutable_data_ptr<float>();
  optimizer_->step(weights, gradient, schedule_->rate(step));
  if (!average_) return;
  const auto size = checked_cast<std::size_t>(parameters_.size());
  auto* average = average_->mutable_data_ptr<float>();
  if (device_.is_cuda()) {
    update_average_on_device(average, weights, size, config_.train.ema_decay, device_.stream);
  } else {
    update_average(average, weights, size, config_.train.ema_decay);
  }
}

void Trainer::count_step(const StepResult& result) {
  const double rate = schedule_->rate(state_.cursor.global_step);
  ++state_.cursor.step_in_epoch;
  ++state_.cursor.global_step;
  state_.epoch_sums.add(result.sums);
  state_.window_sums.add(result.sums);
  const bool record = state_.cursor.global_step % config_.train.log_every_steps == 0;
  if (records_ != nullptr) {
    records_->step_done(state_.cursor.step_in_epoch, result.sums, seconds_);
    if (record) records_->write_step(state_, rate);
  }
  seconds_ = {};
  if (record) state_.window_sums = {};
  if (config_.train.check_replicas > 0 &&
      state_.cursor.global_step % config_.train.check_replicas == 0) {
    check_replicas(world_, parameters_, fmt::format("step {}", state_.cursor.global_step));
  }
}

StopReason Trainer::reason_to_stop(const StepResult& result) const {
  const TrainOptions& options = config_.train;
  if (result.preempted) return StopReason::kPreempted;
  if (result.time_is_up) return StopReason::kLimit;
  if (options.max_steps > 0 && state_.cursor.global_step >= options.max_steps) {
    return StopReason::kLimit;
  }
  return StopReason::kNone;
}

Evaluation Trainer::validate() {
  if (average_) swap_in_average();
  const std::vector<float> logits = evaluator_.logits(data_, split_.validation);
  if (average_) swap_in_average();
  if (!world_.is_root()) return {};
  return summarise(logits, labels_at(data_, split_.validation), kClasses);
}

void Trainer::swap_in_average() {
  const at::NoGradGuard no_grad;
  at::Tensor weights = parameters_.weights();
  const at::Tensor raw = weights.clone();
  weights.copy_(*average_);
  average_->copy_(raw);
}

void Trainer::end_epoch() {
  check_replicas(world_, parameters_, fmt::format("end of epoch {}", state_.cursor.epoch + 1));
  world_.enter_phase(Phase::kValidation);
  const Stopwatch watch;
  const bool has_validation = !split_.validation.empty();
  const Evaluation validation = has_validation ? validate() : Evaluation{};
  const std::string& monitor = config_.schedule.monitor;
  const double rate = schedule_->rate(state_.cursor.global_step - 1);
  Decision decision;
  if (world_.is_root()) {
    const LossSums& sums = state_.epoch_sums;
    const auto samples = static_cast<double>(sums.samples);
    // Without a validation split the training metric is the only one there is.
    const double loss = has_validation ? validation.loss : sums.loss / samples;
    const double accuracy =
        has_validation ? validation.accuracy : static_cast<double>(sums.correct) / samples;
    decision = decide(state_, monitor, monitor == "loss" ? loss : accuracy,
                      config_.train.early_stopping, *schedule_);
    decision.loss = loss;
  }
  decision = world_.broadcast_value(decision);
  if (!std::isfinite(decision.loss)) {
    fail_together(world_, ExitCode::kDiverged,
                  fmt::format("epoch {}: the validation loss is not finite; a smaller "
                              "--learning-rate may help",
                              decision.epoch));
  }
  apply(decision, state_.cursor, state_, *schedule_);
  stop_early_ = decision.stop != 0;
  if (records_ != nullptr) {
    const std::int64_t epoch = state_.cursor.epoch + 1;
    records_->write_train(state_, rate);
    if (has_validation) {
      records_->write_evaluation("validation", epoch, state_.cursor.global_step, validation,
                                 watch.seconds());
    }
    records_->write_decision(decision, state_.cursor.global_step, monitor);
    records_->end_epoch(state_, validation, rate);
  }
  ++state_.cursor.epoch;
  state_.cursor.step_in_epoch = 0;
  state_.epoch_sums = {};
}

void Trainer::save_checkpoint(StopReason reason, bool best) {
  world_.enter_phase(Phase::kCheckpoint);
  require_finite_weights(fmt::format("step {}", state_.cursor.global_step));
  // No rank goes on, or leaves, before the checkpoint is durable or everyone knows that it is not.
  together(world_, [&] {
    if (store_ == nullptr) return;
    if (records_ != nullptr) records_->sync();
    state_.stop_reason = reason;
    state_.schedule = schedule_->save();
    state_.optimizer_steps = optimizer_->step_count();
    const HostBuffers buffers = host_copies(parameters_, *optimizer_, average_);
    store_->save(state_.cursor.global_step, encode_checkpoint(state_, parameters_.views(), buffers),
                 best, [this] { world_.publish_progress(); });
  });
  world_.enter_phase(Phase::kTraining);
  step_watch_ = {};
}

void Trainer::require_finite_weights(const std::string& moment) {
  const at::Tensor& weights = parameters_.weights();
  const auto n = checked_cast<std::size_t>(weights.numel());
  const auto* first = weights.const_data_ptr<float>();
  const bool finite =
      device_.is_cuda() ? all_finite_on_device(first, n, device_.stream) : all_finite(first, n);
  if (finite) return;
  fail_together(
      world_, ExitCode::kDiverged,
      fmt::format("{}: the weights are not finite; a smaller --learning-rate may help", moment));
}

// On the root alone: fills `host` with the best weights; false, with a warning, where there are
// none.
bool Trainer::read_best_weights(at::Tensor& host) const {
  if (store_ == nullptr || !state_.best) return false;
  const auto directory = store_->find(state_.best->global_step);
  if (!directory) {
    log_warning("the best checkpoint, of step {}, is not there: the last weights are evaluated",
                state_.best->global_step);
    return false;
  }
  try {
    decode_evaluation_weights(load_checkpoint(*directory), parameters_.views(), host);
    return true;
  } catch (const Error& error) {
    log_warning("{}: the last weights are evaluated", error.what());
    return false;
  }
}

std::optional<Trainer::TestResult> Trainer::evaluate_best(const Dataset& data) {
  world_.enter_phase(Phase::kEvaluation);
  const Stopwatch watch;
  at::Tensor host = (average_ ? *average_ : parameters_.weights()).cpu().clone();
  bool best = false;
  together(world_, [&] {
    if (world_.is_root()) best = read_best_weights(host);
  });
  world_.broadcast(bytes_of(host));
  const at::NoGradGuard no_grad;
  at::Tensor weights = parameters_.weights();
  const at::Tensor current = weights.clone();
  weights.copy_(host);
  const std::vector<std::uint32_t> indices = all_indices(data);
  const std::vector<float> logits = evaluator_.logits(data, indices);
  weights.copy_(current);
  if (!world_.is_root()) return std::nullopt;
  Evaluation evaluation = summarise(logits, labels_at(data, indices), kClasses);
  if (records_ != nullptr) {
    records_->write_evaluation("test", state_.cursor.epoch, state_.cursor.global_step, evaluation,
                               watch.seconds());
  }
  return TestResult{.evaluation = std::move(evaluation), .best = best};
}

}  // namespace lockstep
