// How long a training step takes on ranks that were not measured: one rank's computing, and what
// the links leave exposed of the sums of its gradients.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "lockstep/data/sampler.h"

namespace lockstep {

/// Hockney's model of a link (The communication challenge for MPP, 1994): a message of n bytes
/// takes latency + n * seconds_per_byte, his alpha and beta.
struct LinkModel {
  double latency = 0;           ///< seconds a message
  double seconds_per_byte = 0;  ///< the inverse of the bandwidth
};

/// The way of one sum over W ranks; L = ceil(log2 W). What each costs: Thakur, Rabenseifner and
/// Gropp, "Optimization of collective communication operations in MPICH", 2005.
enum class SumAlgorithm {
  /// A binomial tree to rank 0 and back, in pieces of 1 MiB that are under way together: one comes
  /// while another goes back. 2 L messages and L (n + min(n, 1 MiB)) bytes, one after the other.
  kTree,
  /// MPI_Iallreduce in place of Open MPI 4.1 (nbc_iallreduce.c) as lockstep asks for it, see
  /// launcher.h: among more than two ranks kTree, whatever the size; between two, halves that each
  /// adds up one of: 2 messages and n bytes.
  kMpi,
  /// NCCL's for large messages: 2 (W-1) messages and 2 (W-1)/W n bytes.
  kRing,
  /// --virtual-ranks: L messages, L n bytes.
  kRecursiveDoubling,
};

std::string_view name_of(SumAlgorithm algorithm);
/// Throws Error{kBadData} for none of them.
SumAlgorithm sum_algorithm(std::string_view name);

/// Of one sum of `bytes` over `ranks` >= 1.
double sum_seconds(SumAlgorithm algorithm, const LinkModel& link, int ranks, double bytes);

struct TimedSum {
  double bytes = 0;
  double seconds = 0;
};

/// Fitted by least squares on the logarithm of calculated over measured. The smallest sum says what
/// a message costs and counts as much as all others together; these count by their bytes, as they
/// do in a step: a token bucket or an eager protocol makes the small ones of them faster than the
/// line. At least two sizes, of more than one rank; times are positive.
LinkModel fit_link(SumAlgorithm algorithm, int ranks, std::span<const TimedSum> sums);

/// How far a fit is from what it was made of: |calculated / measured - 1|.
struct FitError {
  double typical = 0;      ///< the median
  double largest = 0;      ///< of all, sizes in the middle included, which hardly count
  double largest_sum = 0;  ///< of the sum with most bytes, which counts most
};
FitError fit_error(SumAlgorithm algorithm, const LinkModel& link, int ranks,
                   std::span<const TimedSum> sums);

/// A message of a step.
struct SentBucket {
  double bytes = 0;
  double lead = 0;  ///< share of the rank's own step that is left when it leaves, 0 to 1
};

/// Where nothing was measured: backward takes two thirds of a step, and fills bucket after bucket
/// in equal times.
std::vector<SentBucket> evenly_filled(std::span<const std::int64_t> bytes);

/// Samples of the largest shard of a global batch.
inline std::int64_t largest_shard(std::int64_t batch, int ranks) {
  return shard_of({.begin = 0, .end = batch}, 0, ranks).size();
}

/// What one rank's own step takes with so many samples.
struct TimedStep {
  double samples = 0;
  double seconds = 0;
};

struct StepModel {
  double fixed = 0;                 ///< seconds of a step of no sample
  double per_sample = 0;            ///< seconds more for each
  std::vector<SentBucket> buckets;  ///< in the order in which they leave
  SumAlgorithm algorithm = SumAlgorithm::kMpi;
  LinkModel link;

  /// Of a rank that waits for nobody.
  double alone(double samples) const { return fixed + per_sample * samples; }
  /// What is left of the sums when the step is computed. They go one after the other, none before
  /// it is filled. NCCL's go on by themselves; MPI's inside its calls alone, of which backward
  /// makes few, so that only the first message of each way travels meanwhile.
  double exposed(int ranks, double samples) const;
  double seconds(int ranks, double samples) const {
    return alone(samples) + exposed(ranks, samples);
  }
  /// Finite, samples and bytes that take time, and at least one message: a file may say anything.
  bool possible() const;
};

/// Sets fixed and per_sample, neither below 0, by least squares on relative differences. With one
/// number of samples, fixed is 0.
void fit_steps(StepModel& model, std::span<const TimedStep> steps);

/// Efficiency is one rank's time over that of W ranks for the same work a rank, as W ranks would
/// have with nothing to wait for. Validation and checkpoints are not in it.
struct Forecast {
  int ranks = 1;
  double strong_seconds = 0;  ///< a step of the same global batch; the largest shard's ranks lead
  double strong_efficiency = 0;
  double weak_seconds = 0;  ///< a step of that batch on each rank
  double weak_efficiency = 0;
  /// The smallest batch of a rank with which weak scaling reaches `target`; 0: none does.
  std::int64_t batch_per_rank = 0;
};
Forecast forecast(const StepModel& model, int ranks, std::int64_t batch, double target);

/// The largest batch that forecast() takes.
inline constexpr std::int64_t kMostForecastSamples = std::int64_t{1} << 40;

}  // namespace lockstep
