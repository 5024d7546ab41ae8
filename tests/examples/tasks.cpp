// A program of its own on the library, for tasks_test.py: what the examples do not do. The
// environment says how it misbehaves.
#include <lockstep/lockstep.h>
#include <torch/nn/modules/linear.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>

namespace {

constexpr std::int64_t kClasses = 12;

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

struct Network : torch::nn::Module {
  torch::nn::Linear first = register_module("first", torch::nn::Linear(2, 16));
  torch::nn::Linear second = register_module("second", torch::nn::Linear(16, kClasses));
  // Written in evaluations too, of which each rank makes another part.
  at::Tensor calls = register_buffer("calls", at::zeros({1}, at::kLong));
  at::Tensor mean = register_buffer("mean", at::zeros({2}));

  at::Tensor forward(const at::Tensor& inputs) {
    calls.add_(1);
    mean.mul_(0.9).add_(inputs.mean(0), 0.1);
    return second(first(inputs - mean).relu());
  }
};

// Points around so many places on a circle.
std::shared_ptr<const lockstep::TensorSamples> points(std::int64_t count, const char* name) {
  const at::Tensor label = at::arange(count, at::kLong).remainder(kClasses);
  const at::Tensor angle = label.to(at::kFloat) * (6.2831853f / kClasses);
  const at::Tensor place = at::stack({angle.cos(), angle.sin()}, 1);
  return std::make_shared<lockstep::TensorSamples>(place + 0.15 * at::randn({count, 2}), label,
                                                   name);
}

// LOCKSTEP_TEST_THROW="on_step 1": that callback, on that rank, once it has seen enough.
void throw_if_wanted(const lockstep::Launch& launch, const std::string& callback) {
  const std::string who = callback + " " + std::to_string(launch.rank);
  if (environment("LOCKSTEP_TEST_THROW") != who) return;
  constexpr const char* kMessage = "the callback has had enough";
  if (callback == "on_decision") lockstep::fail(lockstep::ExitCode::kBadData, kMessage);
  throw std::runtime_error(kMessage);
}

// A line a call in LOCKSTEP_TEST_CALLS/RANK.
void write_down(const lockstep::Launch& launch, const std::string& call) {
  const std::string directory = environment("LOCKSTEP_TEST_CALLS");
  if (directory.empty()) return;
  std::ofstream(directory + "/" + std::to_string(launch.rank), std::ios::app) << call << '\n';
}

std::int64_t steps_done = 0;

// LOCKSTEP_TEST_METRIC: in step 4 the accuracy is infinite on rank 1 ("inf"), or no number, of
// another sign on each rank ("nan").
class Objective : public lockstep::Classification {
 public:
  explicit Objective(int rank) : Classification(kClasses), rank_(rank) {}

  at::Tensor metric_sum(const at::Tensor& outputs, const at::Tensor& targets) const override {
    const at::Tensor sum = Classification::metric_sum(outputs, targets);
    const std::string bad = environment("LOCKSTEP_TEST_METRIC");
    if (steps_done != 3 || bad.empty() || (bad == "inf" && rank_ != 1)) return sum;
    const float value = bad == "inf" ? std::numeric_limits<float>::infinity()
                                     : std::copysign(std::nanf(""), rank_ == 0 ? 1.0f : -1.0f);
    return at::full_like(sum, value, at::kFloat);
  }

 private:
  int rank_;
};

lockstep::Task make_task(const lockstep::Launch& launch) {
  const auto data = points(600, "points");
  lockstep::Task task{.model = std::make_shared<Network>(),
                      .data = data,
                      .split = lockstep::split_samples(launch, data->size()),
                      .objective = std::make_shared<Objective>(launch.rank),
                      .test = points(240, "more points")};
  // As many samples in each part, but others.
  if (!environment("LOCKSTEP_TEST_OTHER_SPLIT").empty()) {
    std::swap(task.split.training.front(), task.split.validation.front());
  }
  if (!environment("LOCKSTEP_TEST_NO_VALIDATION").empty()) task.split.validation.clear();
  task.callbacks.root_only = !environment("LOCKSTEP_TEST_ROOT_ONLY").empty();
  task.callbacks.on_step = [&launch](const lockstep::StepReport& step) {
    steps_done = step.cursor.global_step;
    write_down(launch, "step " + std::to_string(step.cursor.global_step));
    if (step.cursor.global_step == 8) throw_if_wanted(launch, "on_step");
  };
  task.callbacks.on_decision = [&launch](const lockstep::Decision& decision) {
    write_down(launch, "decision " + std::to_string(decision.epoch));
    if (decision.epoch == 2) throw_if_wanted(launch, "on_decision");
  };
  task.callbacks.on_epoch = [&launch](const lockstep::EpochReport& epoch) {
    write_down(launch, "epoch " + std::to_string(epoch.cursor.epoch));
    if (epoch.cursor.epoch == 2) throw_if_wanted(launch, "on_epoch");
  };
  return task;
}

}  // namespace

int main(int argc, char** argv) {
  return lockstep::train_main(
      argc, argv, {.name = "points", .summary = "a task for tests", .images = false}, make_task);
}
