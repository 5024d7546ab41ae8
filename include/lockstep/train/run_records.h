// What the root writes down while a run goes on: metrics, decisions, TensorBoard scalars, progress.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lockstep/data/dataset.h"
#include "lockstep/records/predictions.h"
#include "lockstep/records/run_directory.h"
#include "lockstep/train/decision.h"
#include "lockstep/train/objective.h"
#include "lockstep/train/phase_seconds.h"
#include "lockstep/train/training_state.h"

namespace lockstep {

/// Owns the run's open files; the root alone has one. Throws Error{kInputOutput} when a write
/// fails.
class RunRecords {
 public:
  /// quiet: no progress lines. metric_name: Objective::metric_name(). The directory must outlive
  /// this object.
  RunRecords(const RunDirectory& directory, bool quiet, const std::string& metric_name);
  ~RunRecords();
  RunRecords(const RunRecords&) = delete;
  RunRecords& operator=(const RunRecords&) = delete;

  /// Forgets what was recorded after the cursor, and any test record: for a resume, or a new begin.
  void cut_back(const Cursor& cursor);
  /// Makes all records durable: before the checkpoint that follows them. May run in one other
  /// thread, as the writer's, beside all but cut_back().
  void sync();
  /// Error{kCannotCreate} when one of the files of records was removed or replaced meanwhile.
  /// Threads as for sync().
  void require_in_place() const;

  void begin_epoch(std::int64_t epoch, std::int64_t epochs, std::int64_t steps, std::int64_t done);
  /// Called once, after the first step of this start. What it throws is a warning.
  void at_first_step(std::function<void()> action);
  /// After every step; `step_in_epoch` counts it.
  void step_done(std::int64_t step_in_epoch, const LossSums& step, const PhaseSeconds& seconds);
  /// The window since the last step record; `gradient_norm` is that of the last step alone.
  void write_step(const TrainingState& state, double learning_rate,
                  std::optional<double> gradient_norm);
  /// `by_rank`: what each rank's seconds of the epoch went to, as far as it was trained since this
  /// start.
  void write_train(const TrainingState& state, double learning_rate,
                   std::span<const PhaseSeconds> by_rank);
  /// A step whose update was left out: where its gradient was not finite, and on which ranks.
  void write_skip(std::int64_t epoch, std::int64_t step, const std::string& tensor,
                  const std::vector<int>& ranks);
  /// kind: validation or test.
  void write_evaluation(const std::string& kind, std::int64_t epoch, std::int64_t step,
                        const Evaluation& evaluation, double seconds);
  void write_decision(const Decision& decision, std::int64_t step, const std::string& monitor,
                      bool has_validation);
  void end_epoch(const TrainingState& state, const Evaluation& validation, double learning_rate);

  // What a run can do without: these never throw, and what goes wrong first is a warning.

  /// For TensorBoard: the confusion matrix and, where there are `images` (null: none), the worst
  /// errors as pictures.
  void write_pictures(const Predictions& predictions, const Evaluation& evaluation,
                      const Dataset* images);
  /// Replaces the split's predictions in the run directory, for the report. progress: as
  /// replace_file()'s.
  void write_predictions(const Predictions& predictions, const std::function<void()>& progress);

 private:
  struct Files;
  std::unique_ptr<Files> files_;
};

}  // namespace lockstep
