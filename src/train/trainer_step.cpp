// The part of Trainer that takes one step: batches, forward and backward, sums, and what the
// control words say.
#include <ATen/Context.h>
#include <ATen/record_function.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
#include <cmath>

#include "lockstep/base/cast.h"
#include "lockstep/base/random.h"
#include "lockstep/optim/clipping.h"
#include "lockstep/train/stop_signal.h"
#include "lockstep/train/trainer.h"

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

}  // namespace

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
  const bool alone = world_.size() == 1;
  if (alone) queue_inspection();
  // A GPU is still at work, a CPU is not.
  if (config_.read_ahead.value_or(device_.is_cuda())) read_ahead();
  Stopwatch watch;
  if (!alone) {
    wait_for_device();
    seconds_.backward += watch.lap();
  }
  reducer_.finish_step();
  if (!alone) queue_inspection();
  seconds_.communication += watch.lap();
  // The reduced gradient has the same bits everywhere, so every rank concludes the same.
  const auto [finite, words] = inspect_gradient();
  const std::span<const float> control(words, FlatParameters::kControlWords);
  (device_.is_cuda() && alone ? seconds_.backward : seconds_.optimizer) += watch.lap();
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
  seconds_.data += watch.lap();

  const std::int64_t step = state_.cursor.global_step;
  // For networks that draw from LibTorch's own generator: another number for every piece.
  seed_generators(epoch, shard + std::int64_t{piece} * reducer_.total_shards());
  reach(FaultPlace::kForward, step + 1);
  StepContext context{.training = true,
                      .seed = config_.train.seed,
                      .epoch = epoch,
                      .step = step,
                      .shard = shard,
                      .piece = piece};
  if (may_record()) {
    const RecordedPasses::Shape shape{.samples = positions.size(),
                                      .samples_in_step = samples_in_step,
                                      .first = shard == 0 && piece == 0};
    recorded_passes_.run(shape, batch, epoch,
                         [this, context, samples_in_step](const RecordedPasses::Input& input) {
                           StepContext on_device = context;
                           on_device.samples = input.batch.keys;
                           on_device.epoch_on_device = input.epoch;
                           // What a replay adds to gradients, no hook sees.
                           reducer_.expect_more(true);
                           pass_backward(pass_forward(input.batch, on_device, samples_in_step) /
                                         static_cast<double>(samples_in_step));
                         });
    seconds_.forward += watch.lap();
    recorded_passes_.wait_for_copies();  // for a shard's later pieces: for those before them
    seconds_.backward += watch.lap();
    return;
  }
  const SampleBatch on_device{.inputs = batch.inputs.to(device_.device),
                              .targets = batch.targets.to(device_.device),
                              .keys = batch.keys.to(device_.device)};
  context.samples = on_device.keys;
  const at::Tensor loss = pass_forward(on_device, context, samples_in_step);
  seconds_.forward += watch.lap();
  pass_backward(with_faults(loss / static_cast<double>(samples_in_step)));
  seconds_.backward += watch.lap();
}

// Whoever watches operators, sees them.
bool Trainer::may_record() const { return recorded_passes_.records() && !at::hasCallbacks(); }

void Trainer::seed_generators(std::uint32_t epoch, std::int64_t draw) {
  const auto words = random_words({.seed = config_.train.seed,
                                   .purpose = Purpose::kReseed,
                                   .epoch = epoch,
                                   .sample = static_cast<std::uint64_t>(state_.cursor.global_step)},
                                  checked_cast<std::uint32_t>(draw));
  const std::uint64_t seed = static_cast<std::uint64_t>(words[0]) << 32 | words[1];
  at::Generator generator = at::globalContext().defaultGenerator(at::kCPU);
  generator.set_current_seed(seed);
  if (!device_.is_cuda()) return;
  generator = at::globalContext().defaultGenerator(device_.device);
  generator.set_current_seed(seed);
}

// The loss summed over the batch.
at::Tensor Trainer::pass_forward(const SampleBatch& batch, const StepContext& context,
                                 std::int64_t samples_in_step) {
  const std::int64_t count = batch.inputs.size(0);
  const at::Tensor outputs = task_.model.forward(batch.inputs, context);
  at::Tensor loss = task_.objective->loss_sum(outputs, batch.targets);
  // Before backward, during which the last bucket may leave.
  {
    const at::NoGradGuard no_grad;
    const at::Tensor control = parameters_.control_words();
    control[kLoss].add_(loss.detach());
    if (!task_.objective->metric_name().empty()) {
      control[kMetric].add_(task_.objective->metric_sum(outputs, batch.targets));
    }
    control[kSamples].add_(static_cast<double>(count));
  }
  const ModuleBuffers& buffers = parameters_.buffers();
  if (!buffers.empty()) {
    buffers.take_changes(parameters_.buffer_changes(),
                         static_cast<double>(count) / static_cast<double>(samples_in_step),
                         /*first=*/context.shard == 0 && context.piece == 0);
  }
  return loss;
}

void Trainer::pass_backward(const at::Tensor& objective) {
  objective.backward();
  if (!parameters_.buffers().empty()) parameters_.buffers().restore();
}

// In the queue of a GPU before it is waited for.
void Trainer::queue_inspection() {
  if (!inspection_) return;
  const at::Tensor& gradients = parameters_.gradients();
  inspection_->queue(gradients.const_data_ptr<float>(),
                     checked_cast<std::size_t>(gradients.numel()),
                     parameters_.control_words().const_data_ptr<float>());
}

// Whether the reduced gradient, with all that travels behind it, is finite, and its control words.
DeviceInspection::Result Trainer::inspect_gradient() {
  if (inspection_) return inspection_->wait();
  return {.finite = is_finite(parameters_.gradients()),
          .words = parameters_.control_words().const_data_ptr<float>()};
}

// What it still computes is no communication. No other rank is waited for, so there is no deadline:
// of a GPU that hangs the watchdog knows.
void Trainer::wait_for_device() {
  if (!device_.is_cuda()) return;
  const c10::impl::VirtualGuardImpl device(device_.device.type());
  device.synchronizeStream(device.getStream(device_.device));
}

// What the next step begins with, if there is one in this epoch. The batch before it has been
// copied to the GPU, where there is one. What cannot be read stops the step that needs it, not this
// one.
void Trainer::read_ahead() {
  Stopwatch watch;
  const std::int64_t step = state_.cursor.step_in_epoch + 1;
  if (step == steps_per_epoch() || reaches_limit(state_.cursor.global_step + 1)) {
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

Trainer::StepResult Trainer::read_control_words(std::span<const float> word) const {
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

}  // namespace lockstep
