// Everything of a run that is no tensor: what state.json holds.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lockstep {

/// Where training stands: `epoch` epochs are complete, and `step_in_epoch` steps of the next one.
struct Cursor {
  std::int64_t epoch = 0;
  std::int64_t step_in_epoch = 0;
  std::int64_t global_step = 0;
  bool operator==(const Cursor&) const = default;
};

/// Sums of the training loss over samples since some moment, and of the metric: a classifier's is a
/// count.
struct LossSums {
  double loss = 0;
  std::int64_t correct = 0;  ///< correct predictions of a classifier
  double metric = 0;         ///< of another objective
  std::int64_t samples = 0;
  void add(const LossSums& other) {
    loss += other.loss;
    correct += other.correct;
    metric += other.metric;
    samples += other.samples;
  }
  /// 0 without samples.
  double mean_loss() const { return mean(loss); }
  double mean_metric() const { return mean(static_cast<double>(correct) + metric); }
  bool operator==(const LossSums&) const = default;

 private:
  double mean(double sum) const { return samples > 0 ? sum / static_cast<double>(samples) : 0.0; }
};

/// The best validation so far.
struct Best {
  double metric = 0;
  std::int64_t epoch = 0;
  std::int64_t global_step = 0;
  bool operator==(const Best&) const = default;
};

/// Preempted: by SIGUSR1; interrupted: by SIGUSR2; limit: max-steps or max-minutes.
enum class StopReason { kNone, kDone, kPreempted, kInterrupted, kLimit };
std::string_view to_string(StopReason reason);

struct TrainingState {
  static constexpr int kSchema = 1;

  Cursor cursor;
  LossSums epoch_sums;   ///< since the epoch's begin
  LossSums window_sums;  ///< since the last step record
  std::optional<Best> best;
  int epochs_without_gain = 0;
  StopReason stop_reason = StopReason::kNone;
  std::int64_t optimizer_steps = 0;
  std::int64_t skipped_steps = 0;  ///< updates left out, their gradient not being finite
  std::string schedule;            ///< Schedule::save()
  std::uint64_t seed = 0;
  std::int64_t global_batch = 0;  ///< resolved
  std::int64_t training_samples = 0;
  std::string data_sha256;                ///< of the training dataset
  std::string split_sha256;               ///< of its split; empty in older ones
  std::vector<std::int64_t> image_shape;  ///< [C,H,W]; empty in older ones, and without images
  std::string numerics;                   ///< of all ranks: a fact, not a condition
  std::map<std::string, std::string> settings;  ///< those that define the numbers
  bool operator==(const TrainingState&) const = default;
};

/// JSON, in which every double reads back to the same bits.
std::string encode_state(const TrainingState& state);
/// Throws Error{kBadData} naming `origin` for anything encode_state does not write.
TrainingState decode_state(std::string_view json, const std::string& origin);

/// Throws Error{kBadData} naming `origin` unless the state can be that of a checkpoint of
/// global_step in a run with so many steps an epoch (>= 1).
void require_position(const TrainingState& state, std::int64_t global_step,
                      std::int64_t steps_per_epoch, const std::string& origin);

}  // namespace lockstep
