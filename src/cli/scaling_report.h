// What lockstep bench scaling says: rate, efficiency, where the rest went, and what is foreseen.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "lockstep/report/scaling_picture.h"
#include "scaling_model.h"
#include "scaling_run.h"

namespace lockstep {

/// The efficiency that a batch is looked for with.
inline constexpr double kTargetEfficiency = 0.9;

/// Of at least one, that with the middle rate.
const ScalingRun& typical_run(const std::vector<ScalingRun>& rounds);

/// One number of ranks.
struct ScalingRow {
  bool weak = false;
  int ranks = 1;
  std::int64_t global_batch = 0;
  std::vector<ScalingRun> rounds;
  /// Seconds in which one rank computes the shard when it has the machine for itself, if measured.
  std::optional<double> alone;

  const ScalingRun& typical() const { return typical_run(rounds); }
  double rate() const { return typical().rate(); }
};

struct ScalingForecast {
  StepModel model;
  std::int64_t global_batch = 0;
  std::string source;  ///< of computing and links: a sentence
  std::vector<Forecast> ranks;
};

struct ScalingReport {
  std::string title;
  std::vector<ScalingRow> rows;  ///< strong ones, then weak ones; each by number of ranks
  std::optional<ScalingForecast> forecast;

  /// Against the first row of the same kind.
  double efficiency(const ScalingRow& row) const;
  /// The rows whose sums were timed: more than one rank.
  std::vector<const ScalingRow*> linked() const;
};

/// With the step and the links that follow from what was measured: one rank's own steps, and the
/// messages and sums of `linked`.
StepModel step_model(const std::vector<TimedStep>& own_steps, const ScalingRun& linked);

/// The sums over so many ranks, of each size the median over rows and rounds.
std::vector<TimedSum> median_sums(const ScalingReport& report, int ranks);

std::string scaling_text(const ScalingReport& report);
/// Adds the report to a record.
void add_scaling(nlohmann::ordered_json& record, const ScalingReport& report);
ScalingPicture scaling_picture(const ScalingReport& report);

/// The model, and the global batch it was measured with, of a record that add_scaling() wrote.
/// Throws Error{kBadData} naming `source`.
ScalingForecast forecast_of(const nlohmann::ordered_json& record, const std::string& source);

}  // namespace lockstep
