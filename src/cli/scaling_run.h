// What one job of lockstep bench scaling has measured, and where the time of its steps went.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lockstep/train/phase_seconds.h"
#include "scaling_model.h"

namespace lockstep {

/// One step of one rank.
struct RankStep {
  PhaseSeconds seconds;
  double wall = 0;  ///< seconds from the end of the step before to its own
};

/// Seconds of a mean step. All but validation and checkpoint add up to the step, except for `rest`.
struct StepParts {
  double computing = 0;  ///< forward, backward and optimizer, of the mean rank
  double data = 0;       ///< making batches, of the mean rank
  double host = 0;       ///< whatever else the mean rank does between two exchanges
  double skew = 0;       ///< how much sooner than the last rank the mean rank has something to send
  double exposed = 0;    ///< what ranks wait beyond that: for the sums themselves
  double rest = 0;       ///< of the wall clock, what no part accounts for
  double validation = 0;  ///< one an epoch, with its decision, by step of an epoch
  double checkpoint = 0;  ///< likewise

  /// The steps alone.
  double step() const { return computing + data + host + skew + exposed + rest; }
  /// With all that an epoch has besides them.
  double total() const { return step() + validation + checkpoint; }
};

/// From the same steps of every rank, rank by rank. validation and checkpoint stay 0.
StepParts parts_of(std::span<const RankStep> steps, int ranks);

/// One job.
struct ScalingRun {
  int ranks = 1;
  std::int64_t global_batch = 0;
  std::int64_t steps_per_epoch = 0;
  double samples = 0;  ///< of a mean step
  StepParts parts;
  std::string backend;
  SumAlgorithm algorithm = SumAlgorithm::kMpi;        ///< of the steps
  SumAlgorithm timed_algorithm = SumAlgorithm::kMpi;  ///< of `sums`, which are all-reduces
  int hosts = 1;
  std::vector<SentBucket> buckets;  ///< none of one rank
  std::vector<TimedSum> sums;       ///< likewise

  /// Samples a second of an epoch.
  double rate() const { return samples / parts.total(); }
  /// A step without what ranks wait for sums.
  TimedStep own_step() const {
    return {static_cast<double>(largest_shard(global_batch, ranks)), parts.step() - parts.exposed};
  }
};

nlohmann::ordered_json to_json(const ScalingRun& run);
/// Throws Error{kBadData} for what to_json() has not written.
ScalingRun scaling_run_of(const nlohmann::ordered_json& record);

/// A part of a step by name, for tables and pictures: in the order in which they are shown.
struct NamedPart {
  std::string name;
  double seconds = 0;
};
/// All parts, which add up to parts.total(). `alone`: what forward, backward and optimizer take of
/// one rank that has this shard and the machine for itself; computing that takes longer is a part
/// of its own.
std::vector<NamedPart> named_parts(const StepParts& parts, const std::optional<double>& alone);

}  // namespace lockstep
