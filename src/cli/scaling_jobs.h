// The jobs that lockstep bench scaling starts, each once a round.
#pragma once

#include <cstdint>
#include <vector>

#include "lockstep/cli/settings.h"
#include "scaling_run.h"

namespace lockstep {

struct ScalingJob {
  int ranks = 1;
  std::int64_t batch = 0;  ///< the global one
  int threads = 0;
  int virtual_ranks = 0;
  std::vector<ScalingRun> runs;  ///< one a round, once it has run

  bool same_as(const ScalingJob& other) const;
};

/// A rank of `job` that has its shard and the machine for itself.
ScalingJob alone(const ScalingJob& job);

/// Threads of a rank where `ranks` share the machine.
int threads_of_rank(const Settings& settings, int ranks);

class ScalingJobs {
 public:
  /// The number of this job, which several rows may need.
  std::size_t add(const ScalingJob& job);
  /// Each job in turn, so many rounds. Throws Error with what a job that failed has printed.
  void run(int rounds, int steps, const Settings& settings);

  const ScalingJob& operator[](std::size_t number) const { return jobs_[number]; }
  const std::vector<ScalingJob>& all() const { return jobs_; }

 private:
  std::vector<ScalingJob> jobs_;
};

}  // namespace lockstep
