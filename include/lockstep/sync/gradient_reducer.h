// Sums gradients over all shards of the global batch, overlapping communication with backward.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lockstep/comm/collectives.h"
#include "lockstep/comm/world.h"
#include "lockstep/model/flat_parameters.h"

namespace lockstep {

struct ReducerOptions {
  /// MiB of gradients in one message, > 0; the first and the last one are about an eighth, as far
  /// as whole parameters make it.
  double bucket_mb = 1.0;
  /// Shards of every global batch, a power of two and a multiple of the world size (itself a power
  /// of two then); 0: one shard a rank, summed in the backend's own order.
  int virtual_ranks = 0;
  /// What gradients travel as: kFloat32, kFloat16 or kBfloat16.
  DataType reduce_type = DataType::kFloat32;
};

/// By its name in TrainOptions::reduce_dtype.
DataType reduce_type_of(const std::string& name);

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
/// A shard may be computed in several backward passes, whose gradients add up: expect_more(true)
/// before each but the last, expect_more(false) before that one.
///
/// Without virtual ranks each bucket is all-reduced as soon as backward has filled it and all
/// buckets before it. With V virtual ranks, a rank's V/W shard gradients are summed as one binary
/// subtree and the ranks' sums by recursive doubling (Thakur, Rabenseifner and Gropp, "Optimization
/// of collective communication operations in MPICH", 2005), which continues the same tree: the
/// sum's bits do not depend on W; buckets leave while backward of the rank's last shard goes on. A
/// shard may have no samples: skip its backward.
///
/// With a reduce_type of 16 bits each shard's gradient is rounded to it (to nearest, ties to even),
/// summed as the backend sums it, and the sum is widened: what travels has half the bytes. Control
/// words and changes of buffers stay float32, in a bucket of their own. With virtual ranks the sum
/// at every node of the tree is a float32 sum of two rounded numbers that is rounded again, whether
/// the two lie on one rank or on two: the bits do not depend on W here either. A rank that is alone
/// and has no virtual ranks sums nothing and rounds nothing. The referenced objects must outlive
/// it. Not thread-safe; backward's thread calls into it.
class GradientReducer {
 public:
  /// Throws Error{kUsage} when virtual_ranks does not fit the world size. Parameters have one
  /// reducer at a time.
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

  /// Moves the gradients to memory in which the Collectives sum without messages, where there is
  /// such and sums are taken there. Every rank calls it, before the first step, outside of
  /// together().
  void share_gradients();
  /// Whether they lie there.
  bool shares_gradients() const { return shares_gradients_; }

  /// Zeroes control words and changes of buffers. Gradients count as zero from here on, but on a
  /// CPU their memory holds those of the step before until backward or finish_shard writes there:
  /// until then nothing else may. `step` is for messages.
  void begin_step(std::int64_t step);
  /// The same for backward passes whose gradients stay on this rank, until the next begin_step.
  void begin_local();
  /// Whether the shard's next backward pass is followed by another one: then no bucket leaves.
  /// False when a step begins.
  void expect_more(bool more) { more_to_come_ = more; }
  /// Once for each shard, also for one without samples. Zeroes gradients that backward did not
  /// reach; behind the last shard, all buckets that have not left yet leave.
  void finish_shard(int local_shard);
  /// Waits until all sums are there, with the collective deadline.
  void finish_step();

  /// The gradient buffer as it is, but with gradients rounded as they travel; not a copy where
  /// nothing is rounded.
  at::Tensor as_sent();

  struct Bucket {
    std::int64_t offset = 0;  ///< floats from the buffer's start
    std::int64_t count = 0;   ///< floats; the last one's with all that follows the gradients
    int parameters = 0;       ///< how many it holds; 0: what follows them, in its own type
  };
  const std::vector<Bucket>& buckets() const { return buckets_; }
  /// The buckets that a reducer of these parameters would have among several ranks.
  static std::vector<Bucket> plan_buckets(const FlatParameters& parameters, double bucket_mb,
                                          DataType reduce_type);

 private:
  struct Hooks;
  class FirstGradient;
  void number_buckets();
  void forget_gradients();
  void zero_unwritten_gradients();
  at::Tensor claim(std::size_t parameter);
  std::vector<at::Tensor> take_gradient(std::size_t parameter,
                                        const std::vector<at::Tensor>& gradients);
  void on_gradient(std::size_t parameter);
  void launch_ready_buckets(bool all);
  bool is_rounded(const Bucket& bucket) const { return rounded_ && bucket.parameters > 0; }
  at::Tensor gradient(const Bucket& bucket) const;
  at::Tensor outgoing(const Bucket& bucket) const;
  at::Tensor incoming(const Bucket& bucket) const;
  void round(const Bucket& bucket);
  void pack(const Bucket& bucket);
  std::size_t add_subtree(int local_shard, const Bucket& bucket);
  std::unique_ptr<PendingOperation> exchange(std::size_t bucket, int distance);
  void sum_over_ranks();

  World& world_;
  Collectives& collectives_;
  FlatParameters& parameters_;
  int total_shards_ = 1;
  int local_shards_ = 1;
  int first_shard_ = 0;
  bool tree_ = false;
  bool shares_gradients_ = false;
  bool local_ = false;  // between begin_local and begin_step
  std::int64_t step_ = 0;
  std::vector<bool> unwritten_;  // per parameter: what lies there is of the step before
  int finished_shards_ = 0;      // of this rank, in this step
  bool more_to_come_ = false;
  std::vector<Bucket> buckets_;
  std::vector<int> bucket_of_parameter_;
  std::vector<int> missing_;  // per bucket: gradients backward has not delivered yet
  std::size_t next_bucket_ = 0;
  std::vector<std::unique_ptr<PendingOperation>> pending_;  // per bucket
  std::vector<at::Tensor> subtree_sums_;                    // one per level of this rank's subtree
  at::Tensor received_;                                     // from another rank, as it lies here
  std::optional<at::ScalarType> rounded_;                   // the reduce type, if anything is
  at::Tensor packed_, packed_received_;                     // gradients as they travel
  std::shared_ptr<Hooks> hooks_;
};

}  // namespace lockstep
