// What is trained, on what, and who listens.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "lockstep/data/split.h"
#include "lockstep/model/model.h"
#include "lockstep/train/decision.h"
#include "lockstep/train/objective.h"
#include "lockstep/train/phase_seconds.h"
#include "lockstep/train/samples.h"
#include "lockstep/train/training_state.h"

namespace lockstep {

/// A step that is over, as every rank knows it. Means are over the global batch.
struct StepReport {
  Cursor cursor;  ///< behind the step
  std::int64_t samples = 0;
  double loss = 0;
  double metric = 0;
  double learning_rate = 0;
  /// Of the reduced gradient before it was clipped; with --clip-norm, unless skipped.
  std::optional<double> gradient_norm{};
  bool skipped =
      false;  ///< its gradient was not finite, and its update left out: no loss, no metric
  PhaseSeconds seconds{};  ///< of this rank, since the step before was over
};

/// An epoch that is over, after its validation and decision. Means are over its training samples.
struct EpochReport {
  Cursor cursor;  ///< behind the epoch
  double training_loss = 0;
  double training_metric = 0;
  Decision decision;
  /// Of the validation split, on the root alone, for the time of the call; null elsewhere, and
  /// without such a split.
  const Evaluation* validation = nullptr;
};

/// Called by Trainer::run, on every rank or the root alone, between steps; empty ones are not. What
/// they throw ends the job as any failure of that rank does; while one works, the other ranks wait,
/// for
/// --collective-timeout at most. They must not change what is trained: a
/// run would no longer be what its settings say.
struct Callbacks {
  bool root_only = false;
  std::function<void(const StepReport&)> on_step;
  std::function<void(const Decision&)> on_decision;  ///< when it has been applied
  std::function<void(const EpochReport&)> on_epoch;
};

/// Every rank makes one of its own, and all are equal.
struct Task {
  /// With its initial weights, which must be the same on all ranks.
  Model model;
  std::shared_ptr<const SampleSource> data;
  /// Which of `data` are trained on, and which are held out for validation (possibly none).
  Split split;
  std::shared_ptr<const Objective> objective;
  /// Evaluated at the end; null: there is none.
  std::shared_ptr<const SampleSource> test{};
  Callbacks callbacks{};
  /// Whether the passes of a step may be recorded and replayed on a GPU (CUDA graphs): for inputs
  /// of one shape, model, loss and metric launch the same operators, in the same order, whatever
  /// the values; they wait for none of them, draw nothing from LibTorch's generators, and take from
  /// the context nothing but `training`, `seed`, `samples` and `epoch_on_device`.
  bool recordable = false;
};

}  // namespace lockstep
