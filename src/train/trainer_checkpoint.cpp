// The parts of Trainer that read and write checkpoints.
#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "checkpoint_files.h"
#include "lockstep/base/cast.h"
#include "lockstep/base/error.h"
#include "lockstep/base/log.h"
#include "lockstep/comm/together.h"
#include "lockstep/train/checkpoint_reader.h"
#include "lockstep/train/trainer.h"

namespace lockstep {

namespace {

HostBuffers host_copies(const FlatParameters& parameters, Optimizer& optimizer,
                        const std::optional<at::Tensor>& average) {
  HostBuffers buffers;
  buffers.weights = parameters.weights().cpu();
  buffers.module_buffers = parameters.buffers().values().cpu();
  if (average) buffers.average = average->cpu();
  for (const Optimizer::State& state : optimizer.state()) {
    buffers.optimizer.push_back({state.prefix, state_tensor(state, parameters.weights()).cpu()});
  }
  return buffers;
}

}  // namespace

void Trainer::attach(RunRecords* records, CheckpointStore* store) {
  if (writer_) world_.let_finish({});
  writer_.reset();
  records_ = records;
  store_ = store;
  // First: checkpoints that are still there need all of their records.
  if (store_ != nullptr) store_->rewind(state_.cursor.global_step);
  if (records_ != nullptr) records_->cut_back(state_.cursor);
  if (store_ == nullptr) return;
  // The hint may be that of another course, or of the moment before a crash.
  if (state_.best && store_->find(state_.best->global_step)) {
    store_->mark_best(state_.best->global_step);
  }
  writer_ = std::make_unique<CheckpointWriter>(*store_);
  // A rank that fails has mpirun end this one.
  world_.let_finish([writer = writer_.get()] { return writer->busy(); });
}

TrainingState Trainer::check_state(const CheckpointStore::Loaded& loaded) const {
  TrainingState stored = read_state(loaded);
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
  if (!stored.split_sha256.empty() && stored.split_sha256 != state_.split_sha256) {
    fail(ExitCode::kSettings,
         "the checkpoint was trained on another split of these data into training and validation "
         "(SHA-256 {}, now {})",
         stored.split_sha256, state_.split_sha256);
  }
  require_position(stored, loaded.global_step, steps_per_epoch(),
                   (loaded.directory / kStateFile).string());
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
    decode_checkpoint(*loaded, parameters_, buffers);
  });

  const auto settings = std::move(state_.settings);
  const auto numerics = std::move(state_.numerics);
  const auto image_shape = std::move(state_.image_shape);
  const auto split_sha256 = std::move(state_.split_sha256);
  state_ = decode_state(world_.broadcast_text(std::move(json)), kStateFile);
  state_.settings = settings;
  state_.numerics = numerics;
  state_.image_shape = image_shape;
  state_.split_sha256 = split_sha256;
  schedule_->load(state_.schedule);
  optimizer_->set_step_count(state_.optimizer_steps);
  stop_early_ = config_.train.early_stopping > 0 &&
                state_.epochs_without_gain >= config_.train.early_stopping;
  const at::NoGradGuard no_grad;
  const auto take_over = [&](const at::Tensor& flat, const at::Tensor& host, const char* name) {
    if (world_.is_root()) flat.copy_(host);
    broadcast_flat(flat, name);
  };
  take_over(parameters_.weights(), buffers.weights, "weights");
  take_over(parameters_.buffers().values(), buffers.module_buffers, "buffers");
  parameters_.buffers().restore();
  if (average_) take_over(*average_, *buffers.average, "averaged weights");
  const auto states = optimizer_->state();
  for (std::size_t i = 0; i < states.size(); ++i) {
    take_over(state_tensor(states[i], parameters_.weights()), buffers.optimizer[i].values,
              "optimizer state");
  }
}

// By the data plane, which is made for sizes like this, in pieces that each have the whole
// deadline.
void Trainer::broadcast_flat(const at::Tensor& flat, const char* name) {
  constexpr std::int64_t kPiece = std::int64_t{1} << 22;  // floats
  for (std::int64_t at = 0; at < flat.numel(); at += kPiece) {
    const Buffer piece{.data = flat.mutable_data_ptr<float>() + at,
                       .count = checked_cast<std::size_t>(std::min(kPiece, flat.numel() - at)),
                       .type = DataType::kFloat32};
    collectives_->broadcast(piece, 0, {.name = name})->wait();
  }
  if (collectives_->on_device()) collectives_->synchronize();
}

// The root alone takes a copy of all that the checkpoint holds: from then on training changes
// nothing that the writer's thread reads.
void Trainer::save_checkpoint(StopReason reason, bool best) {
  const Stopwatch watch;
  world_.enter_phase(Phase::kCheckpoint);
  const std::int64_t step = state_.cursor.global_step;
  const std::string moment = fmt::format("step {}", step);
  require_equal_replicas(moment);
  require_finite_weights(moment);
  // No rank goes on before there is a copy, or everyone knows that there is none.
  together(world_, [&] {
    if (store_ == nullptr) return reach(FaultPlace::kCheckpoint, step);
    wait_for_writer();
    const double waited = watch.seconds();
    state_.stop_reason = reason;
    state_.schedule = schedule_->save();
    state_.optimizer_steps = optimizer_->step_count();
    std::optional<std::int64_t> best_step;
    if (state_.best) best_step = state_.best->global_step;
    LOCKSTEP_CHECK(!best || best_step == step, "another step is the best");
    encode_checkpoint(state_, parameters_, host_copies(parameters_, *optimizer_, average_),
                      writer_->files());
    writer_->start({.global_step = step,
                    .best = best_step,
                    .before =
                        [records = records_] {
                          if (records != nullptr) records->sync();
                        },
                    .progress =
                        [this, step, rank = world_.rank()] {
                          writer_faults_.reach(FaultPlace::kCheckpoint, rank, step);
                        },
                    // Training has been saved by then, and goes on from there.
                    .after =
                        [records = records_] {
                          if (records != nullptr) records->require_in_place();
                        }});
    log_debug(
        "the checkpoint of step {} was handed over after {:.1f} ms, {:.1f} ms of them for "
        "checks and the one before",
        step, 1e3 * watch.seconds(), 1e3 * waited);
  });
  world_.enter_phase(Phase::kTraining);
  step_watch_ = {};
}

// Until what was handed over last is durable, or everyone knows why it is not.
void Trainer::finish_checkpoint() {
  world_.enter_phase(Phase::kCheckpoint);
  together(world_, [this] { wait_for_writer(); });
}

// On the root alone; elsewhere there is no writer. A writer that hangs gives no sign of life, and
// so ends the job when the phase's deadline has passed.
void Trainer::wait_for_writer() {
  if (writer_) writer_->wait([this] { world_.publish_progress(); });
}

// When the run fails: the checkpoint that was handed over before is what it can go on from.
void Trainer::settle_checkpoint() {
  if (!writer_) return;
  try {
    writer_->wait([this] {
      try {
        world_.publish_progress();
      } catch (...) {
        // What the network does is no reason to lose a checkpoint.
      }
    });
  } catch (...) {
    log_warning("{}", caught_error().what());
  }
}

}  // namespace lockstep
