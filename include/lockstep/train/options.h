// What a training run does; the options of its parts are in their own modules.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace lockstep {

struct TrainOptions {
  /// Passes over the training split, >= 1.
  std::int64_t epochs = 30;
  /// Samples of one optimizer step over all ranks, >= 1.
  std::int64_t batch_size = 86;
  /// The same per rank; 0: batch_size counts. >= 0; excludes batch_size.
  std::int64_t batch_size_per_rank = 0;
  /// Pieces in which a rank computes each of its shards one after the other, with the memory of one
  /// piece, [1, 65536]; a shard of fewer samples has a piece for each.
  int accumulate = 1;
  /// keep: a last, smaller batch is trained on; drop: it is left out.
  std::string last_batch = "keep";
  /// Of everything random: initial weights, sample order, augmentation, dropout.
  std::uint64_t seed = 1;
  /// Label smoothing: weight moved from the true class to all classes evenly, [0, 1).
  double label_smoothing = 0.0;
  /// Decay of the exponential moving average of the weights, [0, 1); 0: off.
  double ema_decay = 0.0;
  /// L2 norm to which a reduced gradient is scaled down where its own is greater, > 0; 0: never.
  double clip_norm = 0.0;
  /// Stop after this many epochs without a better monitored metric; 0: never. >= 0.
  int early_stopping = 0;
  /// Global step of the whole run after which it stops with a checkpoint; 0: no limit. >= 0.
  std::int64_t max_steps = 0;
  /// Minutes of this start after which it stops with a checkpoint; 0: no limit. >= 0.
  double max_minutes = 0.0;
  /// sharded: every rank predicts its share of the validation split; root: rank 0 predicts it all.
  std::string validation = "sharded";
  /// Samples of one forward pass in validation and evaluation, >= 1; whatever the number of ranks.
  std::int64_t evaluation_batch = 250;
  /// A step whose gradient is not finite: stop ends the run with 76, skip leaves its update out.
  std::string on_non_finite = "stop";
  /// Steps between comparisons of all replicas' weights; 0: at the end of each epoch. >= 0.
  std::int64_t check_replicas = 0;
  /// On GPUs: a step's forward and backward passes are recorded once and replayed as one launch (a
  /// CUDA graph), where the task allows it, on several ranks for gradients of up to 16 MiB: all of
  /// them leave behind the replay, none during it. No bit depends on it.
  bool cuda_graphs = true;
  /// Steps between step records in metrics.jsonl, 1 to 20.
  std::int64_t log_every_steps = 20;
  /// Gradient bucket in MiB (2^20 bytes), > 0; the first and the last are smaller if parameters
  /// allow it.
  double bucket_mb = 1.0;
  /// What gradients travel between ranks as: float32, bfloat16 or float16.
  std::string reduce_dtype = "float32";
  /// Shards of every global batch whatever the world size (a power of two); 0: one a rank.
  int virtual_ranks = 0;
  /// Epochs between checkpoints, >= 1 (the last epoch's is always written).
  std::int64_t checkpoint_every_epochs = 1;
  /// Steps between additional checkpoints; 0: none. >= 0.
  std::int64_t checkpoint_every_steps = 0;
  /// Newest checkpoints that are kept, >= 1; the best one is always kept.
  int keep_checkpoints = 3;
  /// none, auto (the newest good checkpoint of --out, or a new run), a checkpoint directory, or a
  /// run directory.
  std::string resume = "none";
  /// The run directory; empty: runs/MODEL-TIME.
  std::filesystem::path out;
  /// debug, info, warning, error or silent.
  std::string log_level = "info";
};

}  // namespace lockstep
