// A module whose buffers training changes, and tasks that are no classification, under real ranks.
#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/rand.h>
#include <gtest/gtest.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/linear.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "lockstep/base/clock.h"
#include "lockstep/train/trainer.h"
#include "start_world.h"

namespace lockstep {
namespace {

struct Normalised : torch::nn::Module {
  torch::nn::Linear first = register_module("first", torch::nn::Linear(5, 7));
  torch::nn::BatchNorm1d norm = register_module("norm", torch::nn::BatchNorm1d(7));
  torch::nn::Linear second = register_module("second", torch::nn::Linear(7, 1));
  at::Tensor scale = register_buffer("scale", at::full({1}, 0.7f));

  // Written in evaluations too, of which each rank makes another part.
  at::Tensor calls = register_buffer("calls", at::zeros({1}, at::kLong));

  at::Tensor forward(const at::Tensor& inputs) {
    calls.add_(1);
    return second(norm(first(inputs)).relu()).squeeze(1) * scale;
  }
};

struct Result {
  std::shared_ptr<torch::nn::Module> module;
  at::Tensor weights;
  TrainingState state;
  std::vector<double> losses;  // one a step, as the callback has seen it
  std::int64_t epochs = 0;     // seen by the callback
};

Result train(World& world, int virtual_ranks, std::int64_t batch) {
  at::manual_seed(7);
  const at::Tensor x = at::rand({61, 5});
  const at::Tensor y = x.sum(1) + at::rand({61});
  TrainerConfig config;
  config.train.epochs = 3;
  config.train.batch_size = batch;
  config.train.virtual_ranks = virtual_ranks;
  config.train.ema_decay = 0.9;
  config.schedule.monitor = "loss";
  CommOptions options;
  options.collective_timeout = 60;
  const auto collectives = make_collectives(world, options, false, nullptr);
  Result result;
  PhaseSeconds sum;
  double total = 0;
  Callbacks callbacks;
  callbacks.on_step = [&](const StepReport& step) {
    result.losses.push_back(step.loss);
    const PhaseSeconds& seconds = step.seconds;
    for (const double part : {seconds.data, seconds.forward, seconds.backward, seconds.optimizer}) {
      EXPECT_GT(part, 0);
    }
    EXPECT_GE(seconds.communication, 0);
    EXPECT_GE(seconds.other, 0) << "something was counted twice";
    total += seconds.total();
    sum.add(seconds);
  };
  callbacks.on_epoch = [&](const EpochReport& epoch) {
    ++result.epochs;
    EXPECT_EQ(epoch.cursor.epoch, result.epochs);
    EXPECT_EQ(epoch.validation != nullptr, world.is_root());
  };
  const auto module = std::make_shared<Normalised>();
  Split split{.training = all_indices(51), .validation = {}};
  for (std::uint32_t i = 51; i < 61; ++i) split.validation.push_back(i);
  Trainer trainer(
      world, *collectives, {},
      {.model = module,
       .data = std::make_shared<TensorSamples>(x, y, "noise"),
       .split = split,
       .objective = std::make_shared<PerSample>(
           [](const at::Tensor& out, const at::Tensor& t) { return (out - t).square(); }, "error",
           [](const at::Tensor& out, const at::Tensor& t) { return (out - t).abs(); }),
       .callbacks = callbacks},
      config);
  trainer.begin_together();
  const Stopwatch watch;
  trainer.run();
  EXPECT_LE(total, watch.seconds());
  EXPECT_NEAR(sum.total(), total, 1e-9);
  result.module = module;
  result.weights = trainer.parameters().weights().clone();
  result.state = trainer.state();
  return result;
}

void expect_equal_modules(const Result& a, const Result& b) {
  EXPECT_TRUE(at::equal(a.weights, b.weights));
  const auto ours = a.module->named_buffers();
  for (const auto& item : b.module->named_buffers()) {
    EXPECT_TRUE(at::equal(ours[item.key()], item.value())) << item.key();
  }
}

// 17 samples in the last batch of 51 at 34: shards of unequal sizes.
TEST(Buffers, VirtualRanksGiveTheSameBits) {
  World world = start_world();
  World alone = world.split(world.rank(), 0);
  const Result expected = train(alone, 4, 34);
  const Result run = train(world, 4, 34);
  expect_equal_modules(run, expected);
  EXPECT_EQ(run.losses, expected.losses);
  const auto buffers = run.module->named_buffers();
  EXPECT_EQ(buffers["norm.num_batches_tracked"].item<std::int64_t>(), 6) << "steps, not shards";
  EXPECT_EQ(buffers["scale"].item<float>(), 0.7f);
  EXPECT_EQ(buffers["calls"].item<std::int64_t>(), 6) << "those of training";
  EXPECT_GT(buffers["norm.running_mean"].abs().sum().item<float>(), 0);
}

TEST(Buffers, AreTheSameOnAllRanks) {
  World world = start_world();
  const Result run = train(world, 0, 20);
  std::vector<float> mean(7);
  const at::Tensor own = run.module->named_buffers()["norm.running_mean"];
  std::copy_n(own.const_data_ptr<float>(), 7, mean.begin());
  const std::vector<float> before = mean;
  world.broadcast(std::as_writable_bytes(std::span(mean)), 0);
  EXPECT_EQ(mean, before);
}

// Counts and averages without batch normalisation's need of several samples a shard.
struct Remembering : torch::nn::Module {
  torch::nn::Linear linear = register_module("linear", torch::nn::Linear(5, 1));
  at::Tensor mean = register_buffer("mean", at::zeros({5}));
  at::Tensor count = register_buffer("count", at::zeros({1}, at::kLong));

  at::Tensor forward(const at::Tensor& inputs) {
    if (is_training()) {
      mean.mul_(0.5).add_(inputs.mean(0), 0.5);
      count.add_(1);
    }
    return linear(inputs).squeeze(1);
  }
};

struct Remembered {
  at::Tensor weights, mean;
  std::int64_t count = 0;
  std::vector<bool> skipped;  // by step
};

// 50 samples in batches of 16: two in the last one, and sample `poisoned` has no number for a
// target.
Remembered train_remembering(World& world, int virtual_ranks, std::int64_t poisoned, int pieces = 1,
                             const std::string& reduce_dtype = "float32",
                             float poison = std::numeric_limits<float>::infinity()) {
  at::manual_seed(11);
  const at::Tensor x = at::rand({50, 5});
  const at::Tensor y = x.sum(1);
  if (poisoned >= 0) y[poisoned] = poison;
  TrainerConfig config;
  config.train.epochs = 2;
  config.train.batch_size = 16;
  config.train.virtual_ranks = virtual_ranks;
  config.train.accumulate = pieces;
  config.train.reduce_dtype = reduce_dtype;
  config.train.on_non_finite = "skip";
  config.schedule.name = "constant";
  config.schedule.monitor = "loss";
  CommOptions options;
  options.collective_timeout = 60;
  const auto collectives = make_collectives(world, options, false, nullptr);
  Remembered result;
  Callbacks callbacks;
  callbacks.on_step = [&](const StepReport& step) {
    result.skipped.push_back(step.skipped);
    EXPECT_EQ(step.samples == 0, step.skipped);
    EXPECT_TRUE(std::isfinite(step.loss));
    EXPECT_GE(step.seconds.other, 0) << "what a skipped step computes anew counts once";
  };
  const auto module = std::make_shared<Remembering>();
  Trainer trainer(
      world, *collectives, {},
      {.model = module,
       .data = std::make_shared<TensorSamples>(x, y, "sums"),
       .split = {.training = all_indices(50), .validation = {}},
       .objective = std::make_shared<PerSample>(
           [](const at::Tensor& out, const at::Tensor& t) { return (out - t).square(); }),
       .callbacks = callbacks},
      config);
  trainer.begin_together();
  trainer.run();
  EXPECT_EQ(trainer.state().skipped_steps, std::ranges::count(result.skipped, true));
  result.weights = trainer.parameters().weights().clone();
  result.mean = module->mean.clone();
  result.count = module->count.item<std::int64_t>();
  return result;
}

// What a step that is left out did to the buffers is left out, too.
TEST(Buffers, KeepNothingOfASkippedStep) {
  World world = start_world();
  const Remembered all = train_remembering(world, 0, -1);
  EXPECT_EQ(all.count, 8);
  const Remembered run = train_remembering(world, 0, 7);
  EXPECT_EQ(std::ranges::count(run.skipped, true), 2);  // once an epoch
  EXPECT_EQ(run.count, 6);
  EXPECT_TRUE(run.mean.isfinite().all().item<bool>());
  EXPECT_FALSE(at::equal(run.mean, all.mean));
}

// Two samples for four shards.
TEST(Buffers, TakeNothingFromEmptyShards) {
  World world = start_world();
  World alone = world.split(world.rank(), 0);
  for (const std::int64_t poisoned : {-1, 7}) {
    const Remembered expected = train_remembering(alone, 4, poisoned);
    const Remembered run = train_remembering(world, 4, poisoned);
    EXPECT_EQ(run.skipped, expected.skipped);
    EXPECT_EQ(run.count, poisoned < 0 ? 8 : 6);
    EXPECT_TRUE(at::equal(run.mean, expected.mean));
    EXPECT_TRUE(at::equal(run.weights, expected.weights));
  }
}

// The last step's two samples are those that the mean is drawn to, whatever the ranks without any.
TEST(Buffers, MeanIsOfTheSamplesThatThereAre) {
  World world = start_world();
  const Remembered run = train_remembering(world, 0, -1);
  World alone = world.split(world.rank(), 0);
  const Remembered expected = train_remembering(alone, 0, -1);
  EXPECT_TRUE(at::allclose(run.mean, expected.mean, 1e-5, 1e-6));
}

TEST(Buffers, PiecesCountAsTheirSamples) {
  World world = start_world();
  World alone = world.split(world.rank(), 0);
  const Remembered whole = train_remembering(world, 0, -1);
  const Remembered pieces = train_remembering(world, 0, -1, 3);
  EXPECT_EQ(pieces.count, 8) << "steps, not pieces";
  EXPECT_TRUE(at::allclose(pieces.mean, whole.mean, 1e-5, 1e-6));
  for (const std::int64_t poisoned : {-1, 7}) {
    const Remembered expected = train_remembering(alone, 4, poisoned, 3);
    const Remembered run = train_remembering(world, 4, poisoned, 3);
    EXPECT_EQ(run.skipped, expected.skipped);
    EXPECT_TRUE(at::equal(run.mean, expected.mean));
    EXPECT_TRUE(at::equal(run.weights, expected.weights));
  }
}

// What float32 and bfloat16 hold and float16 does not.
TEST(NonFinite, AStepThatOverflowsFloat16IsSkippedOnEveryRank) {
  World world = start_world();
  World alone = world.split(world.rank(), 0);
  for (const std::string type : {"float32", "bfloat16", "float16"}) {
    const Remembered expected = train_remembering(alone, 4, 7, 1, type, 1e9f);
    const Remembered run = train_remembering(world, 4, 7, 1, type, 1e9f);
    EXPECT_EQ(std::ranges::count(run.skipped, true), type == "float16" ? 2 : 0) << type;
    EXPECT_EQ(run.skipped, expected.skipped);
    EXPECT_TRUE(at::equal(run.weights, expected.weights));
    EXPECT_TRUE(run.weights.isfinite().all().item<bool>());
    // Once an epoch where anything is sent.
    const Remembered plain = train_remembering(world, 0, 7, 1, type, 1e9f);
    const bool overflows = type == "float16" && world.size() > 1;
    EXPECT_EQ(std::ranges::count(plain.skipped, true), overflows ? 2 : 0) << type;
    EXPECT_TRUE(plain.weights.isfinite().all().item<bool>());
  }
}

// What is asked of it, and what it draws from LibTorch's own generator.
struct Watched : torch::nn::Module {
  torch::nn::Linear linear = register_module("linear", torch::nn::Linear(5, 1));
  std::vector<std::int64_t> sizes;
  std::vector<float> draws;

  at::Tensor forward(const at::Tensor& inputs) {
    sizes.push_back(inputs.size(0));
    draws.push_back(at::rand({1}).item<float>());
    return linear(inputs).squeeze(1);
  }
};

std::shared_ptr<Watched> train_watched(World& world, int pieces) {
  at::manual_seed(13);
  const at::Tensor x = at::rand({48, 5});
  TrainerConfig config;
  config.train.epochs = 1;
  config.train.batch_size = 16;
  config.train.accumulate = pieces;
  config.schedule.name = "constant";
  config.schedule.monitor = "loss";
  CommOptions options;
  options.collective_timeout = 60;
  const auto collectives = make_collectives(world, options, false, nullptr);
  const auto module = std::make_shared<Watched>();
  Trainer trainer(
      world, *collectives, {},
      {.model = module,
       .data = std::make_shared<TensorSamples>(x, x.sum(1), "sums"),
       .split = {.training = all_indices(48), .validation = {}},
       .objective = std::make_shared<PerSample>(
           [](const at::Tensor& out, const at::Tensor& t) { return (out - t).square(); })},
      config);
  trainer.run();
  return module;
}

TEST(Accumulation, ForwardSeesOnePieceAtATimeAndDrawsAnewForEach) {
  World world = start_world();
  const auto shard = 16 / world.size();
  const auto whole = train_watched(world, 1);
  EXPECT_EQ(whole->sizes, std::vector<std::int64_t>(3, shard));
  const auto halves = train_watched(world, 2);
  EXPECT_EQ(halves->sizes, std::vector<std::int64_t>(6, shard / 2));
  EXPECT_EQ(train_watched(world, 2)->draws, halves->draws) << "again the same";
  const std::set<float> distinct(halves->draws.begin(), halves->draws.end());
  EXPECT_EQ(distinct.size(), halves->draws.size());
  // The first piece draws what the shard drew.
  for (std::size_t step = 0; step < 3; ++step) {
    EXPECT_EQ(halves->draws[2 * step], whole->draws[step]);
  }
  const auto all = world.gather_values(std::span<const float>(halves->draws));
  EXPECT_EQ(std::set<float>(all.begin(), all.end()).size(), all.size()) << "on other ranks others";
}

TEST(Callbacks, SeeWhatTheStateSays) {
  World world = start_world();
  const Result run = train(world, 0, 20);
  EXPECT_EQ(run.epochs, 3);
  EXPECT_EQ(run.losses.size(), static_cast<std::size_t>(run.state.cursor.global_step));
  EXPECT_LT(run.losses.back(), run.losses.front());
  EXPECT_TRUE(run.state.best.has_value());
}

}  // namespace
}  // namespace lockstep
