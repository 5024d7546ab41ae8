// Passes that are recorded and replayed give the bits of passes that are launched. Here what is
// recorded is the function itself, which a replay calls again with what it has kept from the time
// of the recording: a number or a tensor of another step shows in the bits, as on a GPU.
#include "lockstep/train/recorded_passes.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/record_function.h>
#include <gtest/gtest.h>

#include <limits>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>

#include "lockstep/comm/fault_plan.h"
#include "lockstep/model/initialisation.h"
#include "lockstep/model/network.h"
#include "lockstep/train/trainer.h"
#include "start_world.h"

namespace lockstep {
namespace {

constexpr std::int64_t kSamples = 68;
constexpr std::int64_t kBatch = 16;  // four batches an epoch, and one of four samples
constexpr std::int64_t kEpochs = 3;

struct Counts {
  int recorded = 0;
  int replayed = 0;
};

class CalledAgain : public Recording {
 public:
  CalledAgain(std::function<void()> work, Counts& counts)
      : work_(std::move(work)), counts_(counts) {}
  void replay() override {
    ++counts_.replayed;
    work_();
  }

 private:
  std::function<void()> work_;
  Counts& counts_;
};

Recorder recorder(Counts& counts) {
  return [&counts](const std::function<void()>& work) -> std::unique_ptr<Recording> {
    ++counts.recorded;
    return std::make_unique<CalledAgain>(work, counts);
  };
}

struct Options {
  std::string network = "digits-cnn";
  int pieces = 1;
  int virtual_ranks = 0;
  Recorder recorder{};
  bool recordable = true;
  std::string faults{};
  bool averages_and_clips = false;
  bool has_nan = false;  // in one sample, whose steps are left out
};

class RecordedTraining : public testing::Test {
 protected:
  // By all ranks; the weights afterwards, with the buffers behind them.
  at::Tensor train(const Options& options) {
    const auto collectives = make_collectives(world_, {}, false, nullptr);
    const std::shared_ptr<Network> network = make_network(options.network, {});
    initialise_glorot_uniform(*network, 1);
    Split split;
    split.training = all_indices(kSamples);
    TrainerConfig config;
    config.train.batch_size = kBatch;
    config.train.epochs = kEpochs;
    config.train.accumulate = options.pieces;
    config.train.virtual_ranks = options.virtual_ranks;
    config.recorder = options.recorder;
    config.faults = FaultPlan::parse(options.faults);
    config.train.on_non_finite = "skip";
    if (options.averages_and_clips) {
      config.train.ema_decay = 0.9;
      config.train.clip_norm = 0.1;
    }
    const at::Tensor images = at::arange(kSamples * 784, at::kFloat).view({-1, 1, 28, 28}).sin();
    if (options.has_nan) images[9].fill_(std::numeric_limits<float>::quiet_NaN());
    const at::Tensor labels = at::arange(kSamples, at::kLong).remainder(10);
    Trainer trainer(world_, *collectives, {},
                    {.model = network,
                     .data = std::make_shared<const TensorSamples>(images, labels, "waves"),
                     .split = split,
                     .objective = std::make_shared<Classification>(10, 0),
                     .recordable = options.recordable},
                    config);
    trainer.begin_together();
    trainer.run();
    skipped_ = trainer.state().skipped_steps;
    const at::Tensor weights = trainer.parameters().weights().clone();
    const ModuleBuffers& buffers = trainer.parameters().buffers();
    return buffers.empty() ? weights : at::cat({weights, buffers.values()});
  }

  World world_ = start_world();
  std::int64_t skipped_ = 0;  // of the last training
};

TEST_F(RecordedTraining, GivesTheBitsOfPassesThatAreLaunched) {
  for (const char* network : {"digits-cnn", "batchnorm-cnn", "lenet"}) {
    for (const int pieces : {1, 3}) {
      for (const int virtual_ranks : {0, 4}) {
        Options options{.network = network, .pieces = pieces, .virtual_ranks = virtual_ranks};
        const at::Tensor launched = train(options);
        Counts counts;
        options.recorder = recorder(counts);
        EXPECT_TRUE(at::equal(train(options), launched))
            << network << ", " << pieces << " pieces, " << virtual_ranks << " virtual ranks";
        EXPECT_GT(counts.replayed, 0);
      }
    }
  }
}

// What is not finite is looked for by computing the shard again: from recordings, too.
TEST_F(RecordedTraining, LeavesTheSameStepsOut) {
  Options options{.averages_and_clips = true, .has_nan = true};
  const at::Tensor launched = train(options);
  EXPECT_EQ(skipped_, kEpochs);
  Counts counts;
  options.recorder = recorder(counts);
  EXPECT_TRUE(at::equal(train(options), launched));
  EXPECT_EQ(skipped_, kEpochs);
  EXPECT_GT(counts.replayed, 0);
}

TEST_F(RecordedTraining, RecordsTheSecondPassOfAShapeAndReplaysAllLaterOnes) {
  Counts counts;
  train({.recorder = recorder(counts)});
  // Full batches, and an epoch's last one; of each the first pass was launched.
  EXPECT_EQ(counts.recorded, 2);
  EXPECT_EQ(counts.replayed, 5 * kEpochs - 2);
}

TEST_F(RecordedTraining, AFailedRecordingChangesNothing) {
  const at::Tensor launched = train({});
  int calls = 0;
  Counts counts;
  const Recorder failing = [&](const std::function<void()>& work) -> std::unique_ptr<Recording> {
    if (++calls == 1) return std::make_unique<CalledAgain>(work, counts);
    throw std::runtime_error("no memory");
  };
  EXPECT_TRUE(at::equal(train({.recorder = failing}), launched));
  EXPECT_EQ(calls, 2);  // and never again
}

TEST_F(RecordedTraining, RecordsNothingOfTasksThatDoNotAllowItNorAmongFaultsInPasses) {
  Counts counts;
  train({.recorder = recorder(counts), .recordable = false});
  train({.recorder = recorder(counts), .faults = "nan@gradient:rank=0,step=1000"});
  EXPECT_EQ(counts.recorded, 0);
  train({.recorder = recorder(counts), .faults = "hang@forward:rank=0,step=1000"});
  EXPECT_GT(counts.recorded, 0);
}

// bench step times operators so.
TEST_F(RecordedTraining, WhoeverWatchesOperatorsSeesThem) {
  Counts counts;
  const at::CallbackHandle handle = at::addGlobalCallback(at::RecordFunctionCallback(
      [](const at::RecordFunction&) -> std::unique_ptr<at::ObserverContext> { return nullptr; }));
  train({.recorder = recorder(counts)});
  at::removeCallback(handle);
  EXPECT_EQ(counts.recorded, 0);
}

}  // namespace
}  // namespace lockstep
