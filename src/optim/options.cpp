#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>

#include "lockstep/base/error.h"
#include "lockstep/optim/optimizer.h"
#include "optim/rules.h"

namespace lockstep {

std::vector<std::string> problems(const OptimizerOptions& options) {
  std::vector<std::string> found;
  const auto expect = [&found](bool good, std::string message) {
    if (!good) found.push_back(std::move(message));
  };
  // Written so that NaN fails.
  const auto fraction = [&expect](const char* name, double value) {
    expect(value >= 0 && value < 1,
           fmt::format("{} is {}: expected 0 <= {} < 1", name, value, name));
  };
  expect(options.name == "rmsprop" || options.name == "sgd" || options.name == "adamw",
         fmt::format("optimizer is '{}': expected rmsprop, sgd or adamw", options.name));
  fraction("rho", options.rho);
  expect(options.epsilon >= 1e-30 && options.epsilon <= 1,
         fmt::format("epsilon is {}: expected 1e-30 <= epsilon <= 1", options.epsilon));
  fraction("momentum", options.momentum);
  expect(!(options.momentum > 0) || options.name != "adamw",
         fmt::format("momentum is {}: adamw has beta1 instead, leave it 0", options.momentum));
  expect(!options.nesterov || (options.name == "sgd" && options.momentum > 0),
         "nesterov is set: it needs the optimizer sgd and momentum > 0");
  expect(options.weight_decay >= 0 && options.weight_decay <= 1,
         fmt::format("weight-decay is {}: expected 0 <= weight-decay <= 1", options.weight_decay));
  fraction("beta1", options.beta1);
  fraction("beta2", options.beta2);
  return found;
}

void optim::require_valid(const OptimizerOptions& options) {
  if (const auto found = problems(options); !found.empty()) {
    fail(ExitCode::kUsage, "{}", fmt::join(found, "\n"));
  }
}

void Optimizer::set_step_count(std::int64_t count) {
  LOCKSTEP_CHECK(count >= 0, "step count {}", count);
  step_count_ = count;
}

}  // namespace lockstep
