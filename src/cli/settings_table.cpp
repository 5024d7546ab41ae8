#include "cli/settings_table.h"

#include <type_traits>
#include <utility>

namespace lockstep {

namespace {

template <auto Member>
constexpr auto field() {
  using T = std::remove_reference_t<decltype(std::declval<Settings&>().*Member)>;
  return Field<T>{[](Settings& s) -> T& { return s.*Member; },
                  [](const Settings& s) -> const T& { return s.*Member; }};
}

template <auto Part, auto Member>
constexpr auto field() {
  using T = std::remove_reference_t<decltype(std::declval<Settings&>().*Part.*Member)>;
  return Field<T>{[](Settings& s) -> T& { return s.*Part.*Member; },
                  [](const Settings& s) -> const T& { return s.*Part.*Member; }};
}

ValueRange at_least(double least) { return {.least = least}; }
ValueRange above(double least) { return {.least = least, .least_excluded = true}; }
ValueRange between(double least, double most) { return {.least = least, .most = most}; }
/// [least, most)
ValueRange from_to_below(double least, double most) {
  return {.least = least, .most = most, .most_excluded = true};
}

using Table = std::vector<Setting>;

Table data_settings() {
  return {
      {.name = "data",
       .field = field<&Settings::data, &DataOptions::data>(),
       .meaning = "training data: a directory with IDX files or a CSV file, raw or gzip",
       .on_resume = OnResume::kByContent,
       .empty_means = "the embedded MNIST"},
      {.name = "test-data",
       .field = field<&Settings::data, &DataOptions::test_data>(),
       .meaning = "test data, likewise",
       .on_resume = OnResume::kByContent,
       .empty_means = "the t10k files beside IDX training data"},
      {.name = "validation-fraction",
       .field = field<&Settings::data, &DataOptions::validation_fraction>(),
       .range = from_to_below(0, 1),
       .unit = "fraction",
       .meaning = "share of the training data held out for validation"},
      {.name = "split-seed",
       .field = field<&Settings::data, &DataOptions::split_seed>(),
       .range = at_least(0),
       .meaning = "seed of the split into training and validation"},
      {.name = "stratify",
       .field = field<&Settings::data, &DataOptions::stratify>(),
       .meaning = "give training and validation equal shares of every class"},
      {.name = "last-batch",
       .field = field<&Settings::train, &TrainOptions::last_batch>(),
       .choices = {"keep", "drop"},
       .meaning = "train on the last, smaller batch of an epoch, or leave it out"},
  };
}

Table augmentation_settings() {
  return {
      {.name = "augment",
       .field = field<&Settings::augment>(),
       .meaning = "distort training images at random; no turns all of this group off"},
      {.name = "rotation",
       .field = field<&Settings::augmentation, &AugmentationOptions::rotation>(),
       .range = between(0, 180),
       .unit = "degrees",
       .meaning = "largest rotation to either side"},
      {.name = "zoom",
       .field = field<&Settings::augmentation, &AugmentationOptions::zoom>(),
       .range = from_to_below(0, 1),
       .unit = "fraction of the size",
       .meaning = "largest zoom in or out, drawn for x and y separately"},
      {.name = "shift-x",
       .field = field<&Settings::augmentation, &AugmentationOptions::shift_x>(),
       .range = between(0, 1),
       .unit = "fraction of the width",
       .meaning = "largest horizontal shift"},
      {.name = "shift-y",
       .field = field<&Settings::augmentation, &AugmentationOptions::shift_y>(),
       .range = between(0, 1),
       .unit = "fraction of the height",
       .meaning = "largest vertical shift"},
  };
}

Table model_settings() {
  return {
      {.name = "model",
       .field = field<&Settings::model, &ModelOptions::name>(),
       .meaning =
           "network: batchnorm-cnn, digits-cnn, lenet, mlp, small-cnn, or one of your own in "
           "src/model/networks"},
      {.name = "convolution",
       .field = field<&Settings::model, &ModelOptions::convolution>(),
       .choices = {"auto", "direct", "fast"},
       .meaning = "convolutions of batchnorm-cnn, digits-cnn and small-cnn: lockstep's own (fast, "
                  "on a CPU) or LibTorch's (direct); auto: fast where CPU and shapes allow, on a "
                  "GPU cuDNN's with all that follows in one pass",
       .before = "direct"},
      {.name = "device",
       .field = field<&Settings::model, &ModelOptions::device>(),
       .choices = {"auto", "cpu", "cuda"},
       .meaning = "where the network runs; auto: a GPU if the build and the machine have one",
       .on_resume = OnResume::kInexact},
      {.name = "threads",
       .field = field<&Settings::model, &ModelOptions::threads>(),
       .range = between(0, 1024),
       .unit = "threads",
       .meaning = "threads of each rank; 0: the cores of the process, shared by the node's ranks",
       .on_resume = OnResume::kInexact},
      {.name = "seed",
       .field = field<&Settings::train, &TrainOptions::seed>(),
       .range = at_least(0),
       .meaning = "seed of initial weights, sample order, augmentation and dropout"},
  };
}

Table training_settings() {
  return {
      {.name = "epochs",
       .field = field<&Settings::train, &TrainOptions::epochs>(),
       .range = at_least(1),
       .unit = "epochs",
       .meaning = "passes over the training split",
       .on_resume = OnResume::kFixedUnderOneCycle},
      {.name = "batch-size",
       .field = field<&Settings::train, &TrainOptions::batch_size>(),
       .range = at_least(1),
       .unit = "samples",
       .meaning = "global batch: samples of one step over all ranks together"},
      {.name = "batch-size-per-rank",
       .field = field<&Settings::train, &TrainOptions::batch_size_per_rank>(),
       .range = at_least(0),
       .unit = "samples",
       .meaning = "samples of one step on each rank, instead of batch-size; 0: batch-size counts"},
      {.name = "accumulate",
       .field = field<&Settings::train, &TrainOptions::accumulate>(),
       .range = between(1, 65536),
       .unit = "pieces",
       .meaning =
           "pieces in which each shard of a global batch is computed, one after the other, "
           "with the memory of one; gradients are exchanged once, during the last one's backward"},
      {.name = "label-smoothing",
       .field = field<&Settings::train, &TrainOptions::label_smoothing>(),
       .range = from_to_below(0, 1),
       .meaning = "weight moved from the true class to all classes evenly"},
      {.name = "ema-decay",
       .field = field<&Settings::train, &TrainOptions::ema_decay>(),
       .range = from_to_below(0, 1),
       .unit = "per step",
       .meaning = "decay of the moving average of the weights; 0: no average"},
      {.name = "clip-norm",
       .field = field<&Settings::train, &TrainOptions::clip_norm>(),
       .range = at_least(0),
       .meaning = "L2 norm to which the gradient of a global batch is scaled down where its own is "
                  "greater; 0: never"},
      {.name = "early-stopping",
       .field = field<&Settings::train, &TrainOptions::early_stopping>(),
       .range = at_least(0),
       .unit = "epochs",
       .meaning = "stop after so many epochs without a better monitored metric; 0: never"},
      {.name = "max-steps",
       .field = field<&Settings::train, &TrainOptions::max_steps>(),
       .range = at_least(0),
       .unit = "steps",
       .meaning = "global step of the whole run at which it stops with a checkpoint; 0: no limit",
       .on_resume = OnResume::kFree},
      {.name = "max-minutes",
       .field = field<&Settings::train, &TrainOptions::max_minutes>(),
       .range = at_least(0),
       .unit = "minutes",
       .meaning = "time after this start at which it stops with a checkpoint; 0: no limit",
       .on_resume = OnResume::kFree},
      {.name = "validation",
       .field = field<&Settings::train, &TrainOptions::validation>(),
       .choices = {"sharded", "root"},
       .meaning = "every rank predicts its share of the validation split, or the root all of it; "
                  "both give equal bits",
       .on_resume = OnResume::kFree},
      {.name = "evaluation-batch",
       .field = field<&Settings::train, &TrainOptions::evaluation_batch>(),
       .range = at_least(1),
       .unit = "samples",
       .meaning = "size of one forward pass in validation and evaluation"},
      {.name = "on-non-finite",
       .field = field<&Settings::train, &TrainOptions::on_non_finite>(),
       .choices = {"stop", "skip"},
       .meaning = "what a gradient with NaN or infinite values does: end the run, or leave out the "
                  "update of its step on all ranks"},
      {.name = "check-replicas",
       .field = field<&Settings::train, &TrainOptions::check_replicas>(),
       .range = at_least(0),
       .unit = "steps",
       .meaning = "interval between comparisons of all replicas beside those that are made anyway, "
                  "at each epoch's end and before each checkpoint; 0: none",
       .on_resume = OnResume::kFree},
      {.name = "cuda-graphs",
       .field = field<&Settings::train, &TrainOptions::cuda_graphs>(),
       .meaning = "on GPUs, replay the passes of a step as one launch instead of an operator at a "
                  "time (on several ranks only if gradients have up to 16 MiB); both give equal bits",
       .on_resume = OnResume::kFree},
      {.name = "virtual-ranks",
       .field = field<&Settings::train, &TrainOptions::virtual_ranks>(),
       .range = between(0, 65536),
       .unit = "shards",
       .meaning = "shards of every global batch, a power of two: the result is the same on 1, 2, 4 "
                  "and so on ranks up to it, other numbers are refused; 0: one shard a rank, any "
                  "number"},
  };
}

Table optimizer_settings() {
  return {
      {.name = "optimizer",
       .field = field<&Settings::optimizer, &OptimizerOptions::name>(),
       .choices = {"rmsprop", "sgd", "adamw"},
       .meaning = "how gradients change weights"},
      {.name = "rho",
       .field = field<&Settings::optimizer, &OptimizerOptions::rho>(),
       .range = from_to_below(0, 1),
       .unit = "per step",
       .meaning = "rmsprop: decay of the average of squared gradients"},
      {.name = "epsilon",
       .field = field<&Settings::optimizer, &OptimizerOptions::epsilon>(),
       .range = between(1e-30, 1),
       .meaning = "rmsprop, adamw: added to the root in the denominator"},
      {.name = "momentum",
       .field = field<&Settings::optimizer, &OptimizerOptions::momentum>(),
       .range = from_to_below(0, 1),
       .unit = "per step",
       .meaning = "rmsprop, sgd: decay of the accumulated update; 0: none"},
      {.name = "nesterov",
       .field = field<&Settings::optimizer, &OptimizerOptions::nesterov>(),
       .meaning = "sgd: Nesterov's momentum; needs momentum above 0"},
      {.name = "weight-decay",
       .field = field<&Settings::optimizer, &OptimizerOptions::weight_decay>(),
       .range = between(0, 1),
       .meaning = "rmsprop, sgd: L2 penalty in the gradient; adamw: apart from it"},
      {.name = "beta1",
       .field = field<&Settings::optimizer, &OptimizerOptions::beta1>(),
       .range = from_to_below(0, 1),
       .unit = "per step",
       .meaning = "adamw: decay of the average of gradients"},
      {.name = "beta2",
       .field = field<&Settings::optimizer, &OptimizerOptions::beta2>(),
       .range = from_to_below(0, 1),
       .unit = "per step",
       .meaning = "adamw: decay of the average of squared gradients"},
  };
}

Table schedule_settings() {
  return {
      {.name = "schedule",
       .field = field<&Settings::schedule, &ScheduleOptions::name>(),
       .choices = {"plateau", "one-cycle", "constant"},
       .meaning = "how the learning rate changes during the run"},
      {.name = "learning-rate",
       .field = field<&Settings::schedule, &ScheduleOptions::learning_rate>(),
       .range = {.least = 0, .most = 1000, .least_excluded = true},
       .meaning = "learning rate at the start; one-cycle: the highest"},
      {.name = "monitor",
       .field = field<&Settings::schedule, &ScheduleOptions::monitor>(),
       .choices = {"accuracy", "loss"},
       .meaning = "metric of the validation split for plateau, best and early stopping"},
      {.name = "patience",
       .field = field<&Settings::schedule, &ScheduleOptions::patience>(),
       .range = at_least(0),
       .unit = "epochs",
       .meaning = "plateau: wait without a better metric before the rate is lowered"},
      {.name = "factor",
       .field = field<&Settings::schedule, &ScheduleOptions::factor>(),
       .range = {.least = 0, .most = 1, .least_excluded = true, .most_excluded = true},
       .meaning = "plateau: what the rate is multiplied by"},
      {.name = "min-learning-rate",
       .field = field<&Settings::schedule, &ScheduleOptions::min_learning_rate>(),
       .range = at_least(0),
       .meaning = "plateau: the rate is not lowered below this"},
      {.name = "min-delta",
       .field = field<&Settings::schedule, &ScheduleOptions::min_delta>(),
       .range = at_least(0),
       .meaning = "plateau: how much better the metric must be to count as better"},
      {.name = "cooldown",
       .field = field<&Settings::schedule, &ScheduleOptions::cooldown>(),
       .range = at_least(0),
       .unit = "epochs",
       .meaning = "plateau: wait after lowering the rate before patience counts again"},
      {.name = "warmup-steps",
       .field = field<&Settings::schedule, &ScheduleOptions::warmup_steps>(),
       .range = at_least(0),
       .unit = "steps",
       .meaning = "linear rise of the rate at the start of the run, under every schedule; 0: none"},
      {.name = "scale-learning-rate",
       .field = field<&Settings::schedule, &ScheduleOptions::scale_with_world>(),
       .meaning = "multiply the learning rate by the number of ranks"},
      {.name = "one-cycle-peak",
       .field = field<&Settings::schedule, &ScheduleOptions::peak_fraction>(),
       .range = between(0, 1),
       .unit = "fraction",
       .meaning = "one-cycle: share of the run in which the rate rises"},
      {.name = "one-cycle-start-divisor",
       .field = field<&Settings::schedule, &ScheduleOptions::start_divisor>(),
       .range = between(1, 1e9),
       .meaning = "one-cycle: highest rate divided by first rate"},
      {.name = "one-cycle-end-divisor",
       .field = field<&Settings::schedule, &ScheduleOptions::end_divisor>(),
       .range = between(1, 1e9),
       .meaning = "one-cycle: first rate divided by last rate"},
      {.name = "one-cycle-shape",
       .field = field<&Settings::schedule, &ScheduleOptions::shape>(),
       .choices = {"cosine", "linear"},
       .meaning = "one-cycle: shape of rise and fall"},
  };
}

Table communication_settings() {
  return {
      {.name = "backend",
       .field = field<&Settings::comm, &CommOptions::backend>(),
       .choices = {"auto", "mpi", "nccl"},
       .meaning = "what carries gradients; auto: nccl for GPUs, else mpi",
       .on_resume = OnResume::kInexact},
      {.name = "collective-timeout",
       .field = field<&Settings::comm, &CommOptions::collective_timeout>(),
       .range = above(0),
       .unit = "seconds",
       .meaning = "time a rank waits for the others before the run is given up",
       .on_resume = OnResume::kFree},
      {.name = "shared-memory",
       .field = field<&Settings::comm, &CommOptions::shared_memory>(),
       .meaning =
           "sum gradients in memory that the ranks share if all are on one host, rather than "
           "send them; same bits, unless Open MPI is told how to sum",
       .on_resume = OnResume::kFree},
      {.name = "bucket-mb",
       .field = field<&Settings::train, &TrainOptions::bucket_mb>(),
       .range = {.least = 0, .most = 4096, .least_excluded = true},
       .unit = "MiB",
       .meaning = "gradients all-reduced as one message; the first and last are smaller if "
                  "parameters allow it"},
      {.name = "reduce-dtype",
       .field = field<&Settings::train, &TrainOptions::reduce_dtype>(),
       .choices = {"float32", "bfloat16", "float16"},
       .meaning = "what gradients travel between ranks as: 16 bits are half the bytes, and round "
                  "every shard's gradient and every sum"},
      {.name = "ledger-dir",
       .field = field<&Settings::comm, &CommOptions::ledger_dir>(),
       .meaning = "directory on the node's own disk for the ledger of operations",
       .on_resume = OnResume::kFree,
       .empty_means = "one a job in the node's temporary directory"},
      {.name = "inject-fault",
       .field = field<&Settings::comm, &CommOptions::inject_fault>(),
       .meaning = "rehearse a failure, for example kill@forward:rank=1,step=7; several are "
                  "separated by ;",
       .on_resume = OnResume::kFree,
       .empty_means = "none"},
  };
}

Table checkpoint_settings() {
  return {
      {.name = "checkpoint-every-epochs",
       .field = field<&Settings::train, &TrainOptions::checkpoint_every_epochs>(),
       .range = at_least(1),
       .unit = "epochs",
       .meaning = "interval between checkpoints; the last epoch's is always written",
       .on_resume = OnResume::kFree},
      {.name = "checkpoint-every-steps",
       .field = field<&Settings::train, &TrainOptions::checkpoint_every_steps>(),
       .range = at_least(0),
       .unit = "steps",
       .meaning = "interval between additional checkpoints; 0: none",
       .on_resume = OnResume::kFree},
      {.name = "keep-checkpoints",
       .field = field<&Settings::train, &TrainOptions::keep_checkpoints>(),
       .range = at_least(1),
       .unit = "checkpoints",
       .meaning = "newest checkpoints kept; the best one is always kept",
       .on_resume = OnResume::kFree},
      {.name = "resume",
       .field = field<&Settings::train, &TrainOptions::resume>(),
       .meaning = "none, auto (the newest good checkpoint of --out, or a new run), a checkpoint "
                  "directory, or a run directory or its checkpoints (the newest good one)",
       .on_resume = OnResume::kFree},
  };
}

Table output_settings() {
  return {
      {.name = "out",
       .field = field<&Settings::train, &TrainOptions::out>(),
       .meaning = "run directory",
       .on_resume = OnResume::kFree,
       .empty_means = "runs/<model>-<time>"},
      {.name = "log-every-steps",
       .field = field<&Settings::train, &TrainOptions::log_every_steps>(),
       .range = between(1, 20),
       .unit = "steps",
       .meaning = "interval between step records in metrics.jsonl",
       .on_resume = OnResume::kFree},
      {.name = "log-level",
       .field = field<&Settings::train, &TrainOptions::log_level>(),
       .choices = {"debug", "info", "warning", "error", "silent"},
       .meaning = "least important messages that are printed",
       .on_resume = OnResume::kFree},
  };
}

}  // namespace

std::vector<Setting> make_settings_table() {
  std::pair<SettingGroup, Table> groups[] = {
      {SettingGroup::kData, data_settings()},
      {SettingGroup::kAugmentation, augmentation_settings()},
      {SettingGroup::kModel, model_settings()},
      {SettingGroup::kTraining, training_settings()},
      {SettingGroup::kOptimizer, optimizer_settings()},
      {SettingGroup::kSchedule, schedule_settings()},
      {SettingGroup::kCommunication, communication_settings()},
      {SettingGroup::kCheckpoints, checkpoint_settings()},
      {SettingGroup::kOutput, output_settings()},
  };
  Table table;
  for (auto& [group, settings] : groups) {
    for (Setting& setting : settings) {
      setting.group = group;
      table.push_back(std::move(setting));
    }
  }
  return table;
}

}  // namespace lockstep
