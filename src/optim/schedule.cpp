#include "lockstep/optim/schedule.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "lockstep/base/error.h"
#include "optim/schedule_state.h"

namespace lockstep {
namespace {

using optim::StateReader;

/// Base rate and warm-up, which all schedules share; by itself the constant schedule.
class Constant : public Schedule {
 public:
  Constant(std::string name, double base_rate, std::int64_t warmup_steps)
      : name_(std::move(name)), base_rate_(base_rate), warmup_steps_(warmup_steps) {}

  double rate(std::int64_t step) const override { return base_rate_ * warmup(step); }
  void observe(double) override {}

  std::string save() const override {
    return nlohmann::ordered_json{{"name", name_}, {"base_rate", base_rate_}}.dump();
  }
  void load(std::string_view state) override {
    StateReader reader(state, name_);
    const double base_rate = reader.rate("base_rate");
    reader.finish();
    base_rate_ = base_rate;
  }

  double base_rate() const override { return base_rate_; }
  void set_base_rate(double rate) override {
    LOCKSTEP_CHECK(std::isfinite(rate) && rate >= 0, "learning rate {}", rate);
    base_rate_ = rate;
  }

 protected:
  const std::string& name() const { return name_; }
  double warmup(std::int64_t step) const {
    LOCKSTEP_CHECK(step >= 0, "global step {}", step);
    if (step >= warmup_steps_) return 1.0;
    return static_cast<double>(step + 1) / static_cast<double>(warmup_steps_);
  }

 private:
  std::string name_;
  double base_rate_;
  std::int64_t warmup_steps_;
};

class Plateau final : public Constant {
 public:
  Plateau(const ScheduleOptions& options, double base_rate)
      : Constant(options.name, base_rate, options.warmup_steps),
        options_(options),
        higher_is_better_(options.monitor == "accuracy"),
        best_(higher_is_better_ ? -std::numeric_limits<double>::infinity()
                                : std::numeric_limits<double>::infinity()) {}

  void observe(double metric) override {
    if (cooldown_ > 0) {
      --cooldown_;
      wait_ = 0;
    }
    if (is_better(metric)) {
      best_ = metric;
      wait_ = 0;
    } else if (cooldown_ == 0) {
      // Keras counts on at the lowest rate, without an effect; saturating keeps it an int.
      if (wait_ < std::numeric_limits<int>::max()) ++wait_;
      if (wait_ >= options_.patience && base_rate() > options_.min_learning_rate) {
        set_base_rate(std::max(base_rate() * options_.factor, options_.min_learning_rate));
        cooldown_ = options_.cooldown;
        wait_ = 0;
      }
    }
  }

  std::string save() const override {
    return nlohmann::ordered_json{{"name", name()},
                                  {"base_rate", base_rate()},
                                  {"best", optim::number_to_json(best_)},
                                  {"wait", wait_},
                                  {"cooldown", cooldown_}}
        .dump();
  }
  void load(std::string_view state) override {
    StateReader reader(state, name());
    const double base_rate = reader.rate("base_rate");
    const double best = reader.number("best");
    const int wait = reader.count("wait");
    const int cooldown = reader.count("cooldown");
    reader.finish();
    set_base_rate(base_rate);
    best_ = best;
    wait_ = wait;
    cooldown_ = cooldown;
  }

 private:
  bool is_better(double metric) const {
    return higher_is_better_ ? metric > best_ + options_.min_delta
                             : metric < best_ - options_.min_delta;
  }

  ScheduleOptions options_;
  bool higher_is_better_;
  double best_;
  int wait_ = 0;
  int cooldown_ = 0;
};

class OneCycle final : public Constant {
 public:
  OneCycle(const ScheduleOptions& options, double highest, std::int64_t total_steps)
      : Constant(options.name, highest, options.warmup_steps),
        options_(options),
        last_(static_cast<double>(total_steps - 1)),
        peak_(options.peak_fraction * static_cast<double>(total_steps) - 1) {}

  double rate(std::int64_t step) const override {
    const double first = base_rate() / options_.start_divisor;
    const double position = std::min(static_cast<double>(step), last_);
    // A rise of no length is over at once, where PyTorch divides by zero.
    const double cycle = position <= peak_
                             ? anneal(first, base_rate(), peak_ > 0 ? position / peak_ : 1.0)
                             : anneal(base_rate(), first / options_.end_divisor,
                                      (position - peak_) / (last_ - peak_));
    return cycle * warmup(step);
  }

 private:
  double anneal(double from, double to, double share) const {
    if (options_.shape == "linear") return (to - from) * share + from;
    return to + (from - to) / 2 * (1 + std::cos(std::numbers::pi * share));
  }

  ScheduleOptions options_;
  double last_;
  double peak_;
};

}  // namespace

std::vector<std::string> problems(const ScheduleOptions& options) {
  std::vector<std::string> found;
  const auto expect = [&found](bool good, std::string message) {
    if (!good) found.push_back(std::move(message));
  };
  const double rate = options.learning_rate;
  const bool plateau = options.name == "plateau";
  expect(plateau || options.name == "one-cycle" || options.name == "constant",
         fmt::format("schedule is '{}': expected plateau, one-cycle or constant", options.name));
  expect(rate > 0 && rate <= 1000,
         fmt::format("learning-rate is {}: expected 0 < learning-rate <= 1000", rate));
  expect(options.monitor == "accuracy" || options.monitor == "loss",
         fmt::format("monitor is '{}': expected accuracy or loss", options.monitor));
  expect(options.patience >= 0,
         fmt::format("patience is {}: expected an integer >= 0", options.patience));
  expect(options.factor > 0 && options.factor < 1,
         fmt::format("factor is {}: expected 0 < factor < 1", options.factor));
  expect(options.min_learning_rate >= 0 && std::isfinite(options.min_learning_rate),
         fmt::format("min-learning-rate is {}: expected a number >= 0", options.min_learning_rate));
  expect(
      !(plateau && options.min_learning_rate > rate),
      fmt::format("min-learning-rate is {}, above learning-rate {}: plateau could never reduce it",
                  options.min_learning_rate, rate));
  expect(options.min_delta >= 0 && std::isfinite(options.min_delta),
         fmt::format("min-delta is {}: expected a number >= 0", options.min_delta));
  expect(options.cooldown >= 0,
         fmt::format("cooldown is {}: expected an integer >= 0", options.cooldown));
  expect(options.warmup_steps >= 0,
         fmt::format("warmup-steps is {}: expected an integer >= 0", options.warmup_steps));
  expect(
      options.peak_fraction >= 0 && options.peak_fraction <= 1,
      fmt::format("peak-fraction is {}: expected 0 <= peak-fraction <= 1", options.peak_fraction));
  expect(options.start_divisor >= 1 && options.start_divisor <= 1e9,
         fmt::format("start-divisor is {}: expected 1 <= start-divisor <= 1e9",
                     options.start_divisor));
  expect(options.end_divisor >= 1 && options.end_divisor <= 1e9,
         fmt::format("end-divisor is {}: expected 1 <= end-divisor <= 1e9", options.end_divisor));
  expect(options.shape == "cosine" || options.shape == "linear",
         fmt::format("shape is '{}': expected cosine or linear", options.shape));
  return found;
}

std::unique_ptr<Schedule> make_schedule(const ScheduleOptions& options, std::int64_t total_steps,
                                        int world_size) {
  LOCKSTEP_CHECK(world_size >= 1, "world size {}", world_size);
  auto found = problems(options);
  if (options.name == "one-cycle" && total_steps < 1) {
    found.push_back(fmt::format("one-cycle over {} steps: it needs at least one", total_steps));
  }
  if (!found.empty()) fail(ExitCode::kUsage, "{}", fmt::join(found, "\n"));

  const double base_rate =
      options.scale_with_world ? options.learning_rate * world_size : options.learning_rate;
  if (options.name == "plateau") return std::make_unique<Plateau>(options, base_rate);
  if (options.name == "one-cycle") {
    return std::make_unique<OneCycle>(options, base_rate, total_steps);
  }
  return std::make_unique<Constant>(options.name, base_rate, options.warmup_steps);
}

}  // namespace lockstep
