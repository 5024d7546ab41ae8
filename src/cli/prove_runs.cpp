#include "prove_runs.h"

#include <limits>
#include <string>

#include "lockstep/base/cast.h"
#include "lockstep/base/clock.h"
#include "lockstep/base/log.h"
#include "lockstep/base/text.h"
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
  train.checkpoint_every_steps = 1;
  train.keep_checkpoints = std::numeric_limits<int>::max();
  settings.comm.inject_fault.clear();
  return settings;
}

// Bytes of a checkpoint of tensors: float32 of the weights, of each of the optimizer's states, and
// of the average.
double checkpoint_bytes(const Settings& settings, std::int64_t parameters) {
  const OptimizerOptions& optimizer = settings.optimizer;
  int copies = settings.train.ema_decay > 0 ? 2 : 1;
  if (optimizer.name == "adamw") {
    copies += 2;
  } else {
    copies += (optimizer.name == "rmsprop" ? 1 : 0) + (optimizer.momentum > 0 ? 1 : 0);
  }
  return 4.0 * copies * static_cast<double>(parameters);
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
    const bool per_rank = train.batch_size_per_rank > 0;
    const auto samples = checked_cast<std::int64_t>(data_.split.training.size());
    // The largest of the runs' batches, so that no run's epoch is shorter than is reckoned here; a
    // batch of more samples than there are is like any other one of that kind.
    const std::int64_t batch =
        per_rank
            ? std::min<std::int64_t>(train.batch_size_per_rank, samples + 1) * plan_.most_ranks()
            : train.batch_size;
    const Sampler sampler(samples, batch,
                          train.last_batch == "drop" ? LastBatch::kDrop : LastBatch::kKeep,
                          train.seed);
    const std::int64_t most = sampler.steps_per_epoch();
    std::int64_t& steps = proof_.steps;
    steps = plan_.steps;
    if (steps / train.epochs >= most) steps = most * train.epochs;
    proof_.epoch_steps = std::min(most, train.epochs > 1 ? (steps + 1) / 2 : steps);
    settings_.train.max_steps = steps;
    if (!plan_.resume) return;
    if (steps < 2) {
      fail(ExitCode::kUsage,
           "{} epoch{} of batches of {} samples {} 1 step in all, and a run that is stopped and "
           "resumed needs two: set a smaller --batch-size{} or more --epochs",
           train.epochs, train.epochs == 1 ? "" : "s", batch, train.epochs == 1 ? "is" : "are",
           per_rank ? "-per-rank" : "");
    }
    const std::int64_t after_first = steps - proof_.epoch_steps;
    proof_.stop_at =
        after_first > 0 ? steps - std::max<std::int64_t>(1, after_first / 2) : steps / 2;
    if (plan_.stop_at) proof_.stop_at = *plan_.stop_at;
    if (proof_.stop_at >= steps) {
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
    if (!std::filesystem::exists(directory_, ignored)) return;
    if (!std::filesystem::is_directory(directory_, ignored)) {
      fail(ExitCode::kCannotCreate, "--keep {}: is not a directory", directory_.string());
    }
    if (!std::filesystem::is_empty(directory_, ignored)) {
      fail(ExitCode::kCannotCreate, "{}: is not empty: proofs go into a directory of their own",
           directory_.string());
    }
  }

  void prove_resume() {
    const int ranks = plan_.ranks.front();
    add_run("uninterrupted");
    if (!train(settings_, ranks)) return;
    const int resumed_ranks = plan_.ranks.back();
    add_run(fmt::format("stopped after step {}, resumed", proof_.stop_at));
    Settings part = settings_;
    part.comm.inject_fault = session_.settings().comm.inject_fault;
    part.train.max_steps = proof_.stop_at;
    if (!train(part, ranks)) return;
    // Where it did not stop there, it is another run than the first, as the comparison will say.
    if (!world_.broadcast_value(stopped_at(proof_.stop_at))) return;
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
      if (!train(settings, ranks) && proof_.runs.size() == 1) return;
    }
  }

  // On the root: whether the latest part of a run was stopped there, and by its limit.
  bool stopped_at(std::int64_t step) const {
    return outcome_.reason == StopReason::kLimit && outcome_.cursor.global_step == step;
  }

  // A first run that ends before its time shows nothing of what was to be shown.
  void require_full_length() {
    const std::int64_t step = outcome_.cursor.global_step;
    if (step == proof_.steps) return;
    const int patience = settings_.train.early_stopping;
    fail(ExitCode::kUsage, "run {} ended after step {} of {}{}", proof_.runs[0].name, step,
         proof_.steps,
         patience > 0 ? fmt::format(": --early-stopping {} ended it; set --early-stopping 0, or "
                                    "--steps to at most {}",
                                    patience, step)
                      : "");
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
          TrainingJob job(
              part, settings, session_.device(),
              [&] { return classification_task(settings, data_); }, run.directory,
              proof_.epoch_steps);
          require_space(part, job.trainer());
          outcome_ = job.trainer().run();
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
      if (proof_.runs.size() == 1) {
        together(world_, [this] {
          if (world_.is_root()) require_full_length();
        });
      }
      return true;
    }
    const std::string& message = world_.is_root() ? failure->second : agreed->second;
    if (agreed->first != ExitCode::kDiverged) throw AgreedError(agreed->first, message);
    run.failure = message;
    return false;
  }

  // Before the first step: all of a proof's checkpoints are there at its end.
  void require_space(World& part, const Trainer& trainer) {
    if (proof_.runs.size() > 1) return;
    together(part, [&] {
      if (!part.is_root()) return;
      const double runs = plan_.resume ? 2 : static_cast<double>(plan_.ranks.size());
      const double needed = runs * static_cast<double>(proof_.steps) *
                            checkpoint_bytes(settings_, trainer.parameters().parameter_count());
      std::error_code error;
      const auto space = std::filesystem::space(directory_, error);
      if (error || static_cast<double>(space.available) >= needed) return;
      fail(ExitCode::kInputOutput,
           "{}: {} free, but {} runs of {} steps, with a checkpoint after each, take {}: set fewer "
           "--steps, or --keep or TMPDIR to a place with more",
           directory_.string(), format_bytes(space.available), runs, proof_.steps,
           format_bytes(static_cast<std::uint64_t>(needed)));
    });
  }

  // Ranks without a part wait until it is done. Each of its steps has a deadline of its own.
  void wait_for_the_others() {
    const double operations = static_cast<double>(proof_.steps) * 10 + 100;
    world_.enter_phase(Phase::kTraining, operations * settings_.comm.collective_timeout);
  }

  void compare() {
    const auto progress = [this] { world_.publish_progress(); };
    const ProofRun& first = proof_.runs[0];
    for (ProofRun& run : proof_.runs) {
      read_facts(run);
      // Of a first run that did not come to its end there is nothing to compare with.
      if (first.failure.empty()) {
        run.comparison = compare_runs(first.directory, run.directory, progress);
      }
    }
  }

  Session& session_;
  World& world_;
  const ProofPlan& plan_;
  Settings settings_;
  TrainingData data_;
  std::optional<ScratchDirectory> scratch_;
  std::filesystem::path directory_;
  Outcome outcome_;  // of the latest part of a run, on the ranks that had one
  Proof proof_;
};

}  // namespace

Proof make_proof(Session& session, const ProofPlan& plan) { return Prover(session, plan).prove(); }

}  // namespace lockstep
