// Learning rates by step, with state that can be saved exactly.
//
// The rate of a step is base_rate() times linear warm-up, min(1, (step + 1) / warmup_steps), where
// step counts from 0 over the whole run; what base_rate() means differs:
//   constant   the rate, always.
//   plateau    the rate, multiplied by `factor` after `patience` validations without a better
//   metric:
//              Keras's ReduceLROnPlateau step for step, in double. See Plateau rules below.
//   one-cycle  the highest rate h: from h / start_divisor up to h at step p = peak_fraction * total
//   - 1,
//              then down to h / start_divisor / end_divisor at the last step, along half a cosine
//              or a line each (Smith and Topin, 2018; the values are those of PyTorch's
//              OneCycleLR).
// Plateau rules: better means metric > best + min_delta for accuracy, metric < best - min_delta for
// loss; NaN is never better. Each observation first counts a running cooldown down (and zeroes the
// wait); then a better metric becomes the best and zeroes the wait; else, outside a cooldown, the
// wait grows, and at `patience` the rate, if above min_learning_rate, falls to max(rate * factor,
// min_learning_rate), the wait is zeroed and the cooldown starts. The best is never reset.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace lockstep {

struct ScheduleOptions {
  /// plateau, one-cycle or constant.
  std::string name = "plateau";
  /// The base rate before any scaling, (0, 1000]. one-cycle: the highest.
  double learning_rate = 1e-3;
  /// plateau: the metric of the validation split that is watched, accuracy or loss.
  std::string monitor = "accuracy";
  /// plateau: validations without a better metric before the rate is reduced, >= 0.
  int patience = 3;
  /// plateau: what the rate is multiplied by, (0, 1).
  double factor = 0.5;
  /// plateau: the rate is not reduced below this, [0, learning_rate].
  double min_learning_rate = 1e-5;
  /// plateau: how much better counts as better, >= 0.
  double min_delta = 1e-4;
  /// plateau: validations after a reduction that are not counted, >= 0.
  int cooldown = 0;
  /// Steps of linear warm-up, with every schedule; 0: none. >= 0.
  std::int64_t warmup_steps = 0;
  /// Multiply learning_rate by the world size: the linear scaling rule for a fixed batch per rank
  /// (Goyal et al., "Accurate, large minibatch SGD", 2017).
  bool scale_with_world = false;
  /// one-cycle: share of all steps in which the rate rises, [0, 1].
  double peak_fraction = 0.3;
  /// one-cycle: highest rate / first rate, [1, 1e9].
  double start_divisor = 25;
  /// one-cycle: first rate / last rate, [1, 1e9].
  double end_divisor = 1e4;
  /// one-cycle: cosine or linear.
  std::string shape = "cosine";
};

/// What is wrong with the options, one sentence each, in the order of the fields; empty when
/// nothing.
std::vector<std::string> problems(const ScheduleOptions& options);

/// Not thread-safe. rate() is a pure function of the step and the state, equal on every rank.
class Schedule {
 public:
  virtual ~Schedule() = default;

  /// The learning rate of global step `step` >= 0. one-cycle: that of the last step from there on.
  virtual double rate(std::int64_t step) const = 0;
  /// Takes in the monitored metric of a validation. Only the root calls it; others get base_rate().
  virtual void observe(double metric) = 0;

  /// The state as one line of JSON in which every double reads back to the same bits.
  virtual std::string save() const = 0;
  /// Restores what save() of a schedule with the same name gave. Refuses missing, unknown and
  /// impossible values (Error{kBadData}) and is unchanged then.
  virtual void load(std::string_view state) = 0;

  virtual double base_rate() const = 0;
  /// Finite and >= 0, else Error{kInternal}.
  virtual void set_base_rate(double rate) = 0;

 protected:
  Schedule() = default;
  Schedule(const Schedule&) = default;
  Schedule& operator=(const Schedule&) = default;
};

/// `total_steps`: of the whole run, counted by one-cycle alone, which needs >= 1. Throws
/// Error{kUsage} listing all problems.
std::unique_ptr<Schedule> make_schedule(const ScheduleOptions& options, std::int64_t total_steps,
                                        int world_size);

}  // namespace lockstep
