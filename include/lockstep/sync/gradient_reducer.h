// Sums gradients over all shards of the global batch, overlapping communication with backward.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "lockstep/comm/collectives.h"
#include "lockstep/comm/world.h"
#include "lockstep/model/flat_parameters.h"

namespace lockstep {

struct ReducerOptions {
  double bucket_mb = 1.0;  ///< MiB of gradients in one message, > 0; the first one is an eighth
  /// Shards of every global batch, a power of two and a multiple of the world size (itself a power
  /// of two then); 0: one shard a rank, summed in the backend's own order.
  int virtual_ranks = 0;
};

/// One optimizer step's worth of reduction:
///
///   reducer.begin_step(step);
///   for (int shard = 0; shard < reducer.local_shards(); ++shard) {
///     ... control words of this shard, loss.backward() ...
///     reducer.finish_shard(shard);
///   }
///   reducer.finish_step();   // gradients() and control_words() now hold the global sums, on all
///   ranks
///
/// Without virtual ranks each bucket is all-reduced as soon as backward has filled it and all
/// buckets before it. With V virtual ranks, a rank's V/W shard gradients are summed as one binary
/// subtree and the ranks' sums by recursive doubling (Thakur, Rabenseifner and Gropp, "Optimization
/// of collective communication operations in MPICH", 2005), which continues the same tree: the
/// sum's bits do not depend on W; buckets leave while backward of the rank's last shard goes on. A
/// shard may have no samples: skip its backward. The referenced objects must outlive it. Not
/// thread-safe; backward's thread calls into it.
class GradientReducer {
 public:
  /// Throws Error{kUsage} when virtual_ranks does not fit the world size.
  GradientReducer(World& world, Collectives& collectives, FlatParameters& parameters,
                  const ReducerOptions& options);
  ~GradientReducer();
  GradientReducer(const GradientReducer&) = delete;
  GradientReducer& operator=(const GradientReducer&) = delete;

  /// Shards this rank computes in every step.
  int local_shards() const { return local_shards_; }
  /// All shards of a global batch: W, or V.
  int total_shards() const { return total_shards_; }
  /// The number of this rank's first shard; the others follow it.
  int first_shard() const { return first_shard_; }

  /// Zeroes gradients and control words. `step` is for messages.
  void begin_step(std::int64_t step);
  /// Zeroes them for backward passes whose gradients stay on this rank, until the next begin_step.
  void begin_local();
  void finish_shard(int local_shard);
  /// Waits until all sums are there, with the collective deadline.
  void finish_step();

  struct Bucket {
    std::int64_t offset = 0;  ///< floats from the buffer's start
    std::int64_t count = 0;   ///< floats; the last one's with all that follows them
    int parameters = 0;       ///< how many it holds
  };
  const std::vector<Bucket>& buckets() const { return buckets_; }
  /// The buckets that a reducer of these parameters would have.
  static std::vector<Bucket> plan_buckets(const FlatParameters& parameters, double bucket_mb);

 private:
  struct Hooks;
  void number_buckets();
  void on_gradient(std::size_t parameter);
  void launch_ready_buckets(bool all);
  Buffer bucket_buffer(const Bucket& bucket, const at::Tensor& flat) const;
  std::size_t add_subtree(int local_shard, std::int64_t offset, std::int64_t count);
  std::unique_ptr<PendingOperation> exchange(std::size_t bucket, int distance);
  void sum_over_ranks();

  World& world_;
  Collectives& collectives_;
  FlatParameters& parameters_;
  int total_shards_ = 1;
  int local_shards_ = 1;
  int first_shard_ = 0;
  bool tree_ = false;
  bool local_ = false;  // between begin_local and begin_step
  std::int64_t step_ = 0;
  int finished_shards_ = 0;  // of this rank, in this step
  std::vector<Bucket> buckets_;
  std::vector<int> bucket_of_parameter_;
  std::vector<int> missing_;  // per bucket: gradients backward has not delivered yet
  std::size_t next_bucket_ = 0;
  std::vector<std::unique_ptr<PendingOperation>> pending_;  // per bucket
  std::vector<at::Tensor> subtree_sums_;                    // one per level of this rank's subtree
  at::Tensor received_;
  std::shared_ptr<Hooks> hooks_;
};

}  // namespace lockstep
