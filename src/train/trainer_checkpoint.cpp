// The parts of Trainer that read and write checkpoints.
#include <ATen/core/grad_mode.h>
#include <ATen/ops/from_blob.h>

#include "checkpoint_files.h"
#include "host_bytes.h"
#include "lockstep/base/error.h"
#include "lockstep/base/log.h"
#include "lockstep/comm/together.h"
#include "lockstep/train/checkpoint_reader.h"
#include "lockstep/train/trainer.h"

namespace lockstep {

namespace {

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
  const auto image_shape = std::move(state_.image_shape);
  state_ = decode_state(world_.broadcast_text(std::move(json)), kStateFile);
  state_.settings = settings;
  state_.numerics = numerics;
  state_.image_shape = image_shape;
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

void Trainer::save_checkpoint(StopReason reason, bool best) {
  world_.enter_phase(Phase::kCheckpoint);
  const std::string moment = fmt::format("step {}", state_.cursor.global_step);
  require_equal_replicas(moment);
  require_finite_weights(moment);
  // No rank goes on, or leaves, before the checkpoint is durable or everyone knows that it is not.
  together(world_, [&] {
    const auto reach_checkpoint = [this] {
      reach(FaultPlace::kCheckpoint, state_.cursor.global_step);
    };
    if (store_ == nullptr) return reach_checkpoint();
    if (records_ != nullptr) records_->sync();
    state_.stop_reason = reason;
    state_.schedule = schedule_->save();
    state_.optimizer_steps = optimizer_->step_count();
    const HostBuffers buffers = host_copies(parameters_, *optimizer_, average_);
    store_->save(state_.cursor.global_step, encode_checkpoint(state_, parameters_.views(), buffers),
                 best, [&] {
                   reach_checkpoint();
                   world_.publish_progress();
                 });
  });
  world_.enter_phase(Phase::kTraining);
  step_watch_ = {};
}

}  // namespace lockstep
