// The optimizers over an engine, which owns memory and runs passes: HostEngine or DeviceEngine.
//   Engine::Buffer(n)   n floats, zero; get()
//   engine.run(n, pass)
#pragma once

#include <cmath>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lockstep/optim/optimizer.h"
#include "optim/passes.h"

namespace lockstep::optim {

/// Throws Error{kUsage} listing everything that is wrong.
void require_valid(const OptimizerOptions& options);

inline float to_float(double value) { return static_cast<float>(value); }

template <class Engine>
class Rmsprop final : public Optimizer {
 public:
  Rmsprop(const OptimizerOptions& options, std::size_t n, Engine engine)
      : options_(options), n_(n), engine_(std::move(engine)), squares_(n) {
    if (options.momentum > 0) momenta_.emplace(n);
  }

  void step(float* weights, const float* gradients, double learning_rate) override {
    ++step_count_;
    const RmspropTerms terms{to_float(learning_rate),         to_float(options_.rho),
                             to_float(1 - options_.rho),      to_float(options_.epsilon),
                             to_float(options_.weight_decay), to_float(options_.momentum)};
    if (momenta_) {
      engine_.run(n_,
                  RmspropMomentumPass{terms, weights, gradients, squares_.get(), momenta_->get()});
    } else {
      engine_.run(n_, RmspropPass{terms, weights, gradients, squares_.get()});
    }
  }

  std::vector<State> state() override {
    std::vector<State> all{{"square_average", squares_.get()}};
    if (momenta_) all.push_back({"momentum", momenta_->get()});
    return all;
  }

 private:
  OptimizerOptions options_;
  std::size_t n_;
  Engine engine_;
  typename Engine::Buffer squares_;
  std::optional<typename Engine::Buffer> momenta_;
};

template <class Engine>
class Sgd final : public Optimizer {
 public:
  Sgd(const OptimizerOptions& options, std::size_t n, Engine engine)
      : options_(options), n_(n), engine_(std::move(engine)) {
    if (options.momentum > 0) momenta_.emplace(n);
  }

  void step(float* weights, const float* gradients, double learning_rate) override {
    ++step_count_;
    const float rate = to_float(learning_rate);
    const float decay = to_float(options_.weight_decay);
    const float momentum = to_float(options_.momentum);
    if (!momenta_) {
      engine_.run(n_, SgdPass{rate, decay, weights, gradients});
    } else if (options_.nesterov) {
      engine_.run(
          n_, SgdMomentumPass<true>{rate, decay, momentum, weights, gradients, momenta_->get()});
    } else {
      engine_.run(
          n_, SgdMomentumPass<false>{rate, decay, momentum, weights, gradients, momenta_->get()});
    }
  }

  std::vector<State> state() override {
    if (!momenta_) return {};
    return {{"momentum", momenta_->get()}};
  }

 private:
  OptimizerOptions options_;
  std::size_t n_;
  Engine engine_;
  std::optional<typename Engine::Buffer> momenta_;
};

template <class Engine>
class Adamw final : public Optimizer {
 public:
  Adamw(const OptimizerOptions& options, std::size_t n, Engine engine)
      : options_(options), n_(n), engine_(std::move(engine)), first_(n), second_(n) {}

  void step(float* weights, const float* gradients, double learning_rate) override {
    ++step_count_;
    const double t = static_cast<double>(step_count_);
    const double correction1 = 1 - std::pow(options_.beta1, t);
    const double correction2 = 1 - std::pow(options_.beta2, t);
    engine_.run(n_, AdamwPass{to_float(1 - learning_rate * options_.weight_decay),
                              to_float(learning_rate / correction1),
                              to_float(std::sqrt(correction2)), to_float(options_.epsilon),
                              to_float(options_.beta1), to_float(1 - options_.beta1),
                              to_float(options_.beta2), to_float(1 - options_.beta2), weights,
                              gradients, first_.get(), second_.get()});
  }

  std::vector<State> state() override {
    return {{"first_moment", first_.get()}, {"second_moment", second_.get()}};
  }

 private:
  OptimizerOptions options_;
  std::size_t n_;
  Engine engine_;
  typename Engine::Buffer first_;
  typename Engine::Buffer second_;
};

template <class Engine>
std::unique_ptr<Optimizer> make_with(const OptimizerOptions& options, std::size_t n,
                                     Engine engine) {
  require_valid(options);
  if (options.name == "rmsprop") return std::make_unique<Rmsprop<Engine>>(options, n, engine);
  if (options.name == "sgd") return std::make_unique<Sgd<Engine>>(options, n, engine);
  return std::make_unique<Adamw<Engine>>(options, n, engine);
}

}  // namespace lockstep::optim
