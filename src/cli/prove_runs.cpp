#include "prove_runs.h"

#include <limits>
#include <string>

#include "lockstep/base/cast.h"
#include "lockstep/base/clock.h"
#include "lockstep/base/log.h"
#include "lockstep/comm/together.h"
#include "lockstep/data/sampler.h"
#include "scratch_directory.h"
#include "training_job.h"

namespace lockstep {

namespace {

// What both of a proof's runs have in common: the user's own settings, every step on record, and
// nothing of the user's own run.
Settings base_settings(const Session& session, const ProofPlan& plan) {
  Settings settings = session.settings();
  TrainOptions& train = settings.train;
  train.max_steps = plan.steps;
  train.max_minutes = 0;
  train.resume = "none";
  train.log_every_steps = 1;
  train.log_level = "warning";
  train.checkpoint_every_epochs = 1;
  if (train.checkpoint_every_steps == 0) train.checkpoint_every_steps = 1;
  train.keep_checkpoints = std::numeric_limits<int>::max();
  settings.comm.inject_fault.clear();
  return settings;
}

// One proof, made by the ranks of a job; each run is made by the first ones of them.
class Prover {
 public:
  Prover(Session& session, const ProofPlan& plan)
      : session_(session),
        world_(session.world()),
        plan_(plan),
        settings_(base_settings(session, plan)) {}

  Proof prove() {
    data_ = load_training_data(session_);
    together(world_, [this] {
      fit_to_the_data();
      if (world_.is_root()) choose_directory();
    });
    proof_.resume = plan_.resume;
    proof_.settings = session_.settings();
    if (plan_.resume) {
      prove_resume();
    } else {
      prove_ranks();
    }
    together(world_, [this] {
      if (world_.is_root()) compare();
    });
    return std::move(proof_);
  }

 private:
  // Two epochs, both cut short: a validation and a decision before the stop, and after it.
  void fit_to_the_data() {
    const TrainOptions& train = settings_.train;
    const Sampler sampler(
        checked_cast<std::int64_t>(data_.split.training.size()),
        train.batch_size_per_rank > 0 ? train.batch_size_per_rank : train.batch_size,
        train.last_batch == "drop" ? LastBatch::kDrop : LastBatch::kKeep, train.seed);
    const std::int64_t most = sampler.steps_per_epoch();
    std::int64_t& steps = proof_.steps;
    steps = plan_.steps;
    if (steps / train.epochs >= most) steps = most * train.epochs;
    proof_.epoch_steps = std::min(most, train.epochs > 1 ? (steps + 1) / 2 : steps);
    settings_.train.max_steps = steps;
    if (!plan_.resume) return;
    const std::int64_t last_epoch = steps - proof_.epoch_steps;
    proof_.stop_at = last_epoch > 0 ? steps - std::max<std::int64_t>(1, last_epoch / 2) : steps / 2;
    if (plan_.stop_at) proof_.stop_at = *plan_.stop_at;
    if (proof_.stop_at < 1 || proof_.stop_at >= steps) {
      fail(ExitCode::kUsage, "--stop-at {}: the run has {} steps: expected 1 to {}", proof_.stop_at,
           steps, steps - 1);
    }
  }

  void choose_directory() {
    if (plan_.keep.empty()) {
      scratch_.emplace("prove");
      directory_ = scratch_->path();
      return;
    }
    directory_ = plan_.keep;
    std::error_code ignored;
    if (std::filesystem::exists(directory_, ignored) &&
        !std::filesystem::is_empty(directory_, ignored)) {
      fail(ExitCode::kCannotCreate, "{}: is not empty: proofs go into a directory of their own",
           directory_.string());
    }
  }

  void prove_resume() {
    const int ranks = plan_.ranks.front();
    add_run("uninterrupted");
    train(settings_, ranks);
    const int resumed_ranks = plan_.ranks.back();
    add_run(fmt::format("stopped after step {}, resumed", proof_.stop_at));
    Settings part = settings_;
    part.comm.inject_fault = session_.settings().comm.inject_fault;
    part.train.max_steps = proof_.stop_at;
    if (!train(part, ranks)) return;
    part.train.max_steps = settings_.train.max_steps;
    part.train.resume = "auto";
    train(part, resumed_ranks);
  }

  void prove_ranks() {
    for (const int ranks : plan_.ranks) {
      Settings settings = settings_;
      if (proof_.runs.size() == 1) {
        settings.comm.inject_fault = session_.settings().comm.inject_fault;
      }
      add_run(fmt::format("{} rank{}", ranks, ranks == 1 ? "" : "s"));
      train(settings, ranks);
    }
  }

  void add_run(std::string what) {
    const auto letter = static_cast<char>('A' + proof_.runs.size());
    ProofRun& run = proof_.runs.emplace_back();
    run.name = std::string(1, letter);
    run.what = std::move(what);
    run.directory = directory_ / run.name;
  }

  // A part of the latest run, by the first ranks of the world. False, everywhere, when it diverged.
  bool train(Settings settings, int ranks) {
    ProofRun& run = proof_.runs.back();
    run.ranks.push_back(ranks);
    settings.train.out = run.directory;
    const bool takes_part = world_.rank() < ranks;
    const Stopwatch watch;
    std::optional<World::Failure> failure;
    {
      World part = world_.split(takes_part ? 0 : 1, world_.rank());
      if (takes_part) {
        try {
          TrainingJob job(part, settings, session_.device(), data_, run.directory,
                          proof_.epoch_steps);
          job.trainer().run();
        } catch (const AgreedError& error) {
          failure = World::Failure{error.code(), error.what()};
        }
      }
    }
    wait_for_the_others();
    const auto agreed = world_.agree(failure);
    run.seconds += watch.seconds();
    if (!agreed) {
      log_info("{}: {} rank{} to step {}: {:.1f} s", run.name, ranks, ranks == 1 ? "" : "s",
               settings.train.max_steps, watch.seconds());
      return true;
    }
    const std::string& message = world_.is_root() ? failure->second : agreed->second;
    if (agreed->first != ExitCode::kDiverged) throw AgreedError(agreed->first, message);
    run.failure = message;
    return false;
  }

  // Ranks without a part wait until it is done. Each of its steps has a deadline of its own.
  void wait_for_the_others() {
    const double operations = static_cast<double>(proof_.steps) * 10 + 100;
    world_.enter_phase(Phase::kTraining, operations * settings_.comm.collective_timeout);
  }

  void compare() {
    const auto progress = [this] { world_.publish_progress(); };
    for (ProofRun& run : proof_.runs) {
      read_facts(run);
      run.comparison = compare_runs(proof_.runs[0].directory, run.directory, progress);
    }
    if (!proof_.runs[0].failure.empty()) {
      fail(ExitCode::kDiverged,
           "{} ({}) did not come to its end, so that nothing can be proved: {}",
           proof_.runs[0].name, proof_.runs[0].what, proof_.runs[0].failure);
    }
  }

  Session& session_;
  World& world_;
  const ProofPlan& plan_;
  Settings settings_;
  TrainingData data_;
  std::optional<ScratchDirectory> scratch_;
  std::filesystem::path directory_;
  Proof proof_;
};

}  // namespace

Proof make_proof(Session& session, const ProofPlan& plan) { return Prover(session, plan).prove(); }

}  // namespace lockstep
