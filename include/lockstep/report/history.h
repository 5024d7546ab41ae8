// What a run has written so far, read and checked.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lockstep/records/predictions.h"

namespace lockstep::report {

/// What a rank's time goes to; the names in metrics.jsonl.
inline constexpr std::array<std::string_view, 6> kPhases{"data",          "forward",   "backward",
                                                         "communication", "optimizer", "other"};
using PhaseTimes = std::array<double, kPhases.size()>;  // seconds
double total(const PhaseTimes& times);

/// A record of kind step (a window of some steps) or train (an epoch). Numbers that JSON has none
/// for (null) are NaN.
struct TrainingRecord {
  std::int64_t epoch = 0;  ///< from 1
  std::int64_t step = 0;   ///< the global step it ends at
  double loss = 0;
  double metric = 0;  ///< History::metric; NaN where there is none
  double learning_rate = 0;
  double samples_per_second = 0;
  PhaseTimes seconds{};                  ///< the root's
  std::vector<PhaseTimes> by_rank = {};  ///< empty in a step record, and in runs of older versions
};

/// Rows of `confusion`: labels; columns: predictions. Square; empty for what is no classification.
struct EvaluationRecord {
  std::int64_t epoch = 0;
  std::int64_t step = 0;
  double loss = 0;
  double metric = 0;  ///< as in TrainingRecord
  std::int64_t samples = 0;
  std::vector<std::vector<std::int64_t>> confusion;
  double seconds = 0;
};

struct DecisionRecord {
  std::int64_t epoch = 0;
  std::int64_t step = 0;
  std::string monitor;
  std::optional<double> metric_before;
  double metric_after = 0;
  double rate_before = 0;
  double rate_after = 0;
  bool best = false;
  bool stop = false;
  std::string reason;
};

/// An update that was left out.
struct SkipRecord {
  std::int64_t epoch = 0;
  std::int64_t step = 0;
  std::string tensor;
};

struct Setting {
  std::string group;
  std::string name;
  std::string value;
};

struct SplitFacts {
  std::string name;  ///< training, validation, test
  std::int64_t samples = 0;
  std::vector<std::int64_t> class_counts;  ///< empty for what is no classification
};

/// launch.json: one start of the run.
struct Launch {
  std::string started;  ///< UTC
  /// From the root's process to the end of the first step; none where there was none.
  std::optional<double> first_step_seconds;
  std::int64_t world_size = 0;
  std::vector<std::string> hosts;  ///< by rank
  std::string backend;
  std::string numerics;
  std::string versions;
  std::optional<std::int64_t> parameters;
  std::string data_source;
  std::string data_sha256;
  std::string test_source;
  std::string test_sha256;
  bool images = true;               ///< its samples are some, and can be looked for
  std::vector<std::int64_t> shape;  ///< of a sample: channels, height, width of an image
  std::string metric;               ///< what is recorded besides the loss; empty: nothing is
  std::vector<SplitFacts> splits;
};

enum class Status {
  kRunning,
  kDone,     ///< all epochs, or early stopping, and the test data if there are any
  kStopped,  ///< before that
};

struct History {
  std::filesystem::path directory;
  Status status = Status::kStopped;
  std::string metric = "accuracy";  ///< the last launch's
  std::vector<Setting> settings;    ///< in the order of config.ini; empty: there is none
  std::vector<Launch> launches;     ///< oldest first
  std::vector<TrainingRecord> steps;
  std::vector<TrainingRecord> epochs;
  std::vector<EvaluationRecord> validations;
  std::optional<EvaluationRecord> test;
  std::vector<DecisionRecord> decisions;
  std::vector<SkipRecord> skips;
  std::optional<Predictions> validation_predictions;
  std::optional<Predictions> test_predictions;
  /// What is missing or was left out, in words.
  std::vector<std::string> notes;

  /// The metric is a share, shown in percent.
  bool has_accuracy() const { return metric == "accuracy"; }
  /// The samples are images; also where launch.json is not there to say so.
  bool of_images() const { return launches.empty() || launches.back().images; }
  /// What the samples are called: "images" or "samples".
  const char* samples_name() const { return of_images() ? "images" : "samples"; }
  /// The value of a setting; empty where there is none.
  std::string setting(std::string_view name) const;
  /// That of the last decision that found one; null: none, or its record is not here (of a run that
  /// was begun in another directory).
  const EvaluationRecord* best_validation() const;
  /// The record of the validation after that global step; null: there is none.
  const EvaluationRecord* validation_at(std::int64_t step) const;
  /// The decision after that global step; null: there is none.
  const DecisionRecord* decision_at(std::int64_t step) const;
  /// Complete ones.
  std::int64_t epochs_done() const;
  /// The last global step that is recorded.
  std::int64_t last_step() const;
  /// "running, after 3 epochs of 5, step 1,266", and the like; `step`: one that is known from
  /// elsewhere to be complete.
  std::string status_text(std::int64_t step = 0) const;
  /// The name of the directory, also for "." and with a slash behind it.
  std::string name() const;
};

/// Throws Error{kInputMissing} when the directory holds no run, and Error{kBadData} naming file,
/// line and fault. Bytes after the last newline of a .jsonl file are a line that is being written,
/// and are left out. Predictions that do not belong to a record are left out, with a note.
History read_history(const std::filesystem::path& directory);

}  // namespace lockstep::report
