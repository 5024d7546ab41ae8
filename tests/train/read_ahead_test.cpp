// The batch of the step to come is read before the end of a step is waited for.
#include <ATen/ops/arange.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "lockstep/base/error.h"
#include "lockstep/model/initialisation.h"
#include "lockstep/model/network.h"
#include "lockstep/train/trainer.h"
#include "start_world.h"

namespace lockstep {
namespace {

constexpr std::int64_t kSamples = 50;
constexpr std::int64_t kBatch = 8;  // six batches an epoch, and one of two samples
constexpr std::int64_t kSteps = 7;

// Remembers what is read, in order, and refuses to read after so many samples.
class WatchedSamples : public TensorSamples {
 public:
  WatchedSamples(std::int64_t most, std::vector<std::uint32_t>& read)
      : TensorSamples(at::arange(kSamples * 784, at::kFloat).view({-1, 1, 28, 28}).sin(),
                      at::arange(kSamples, at::kLong).remainder(10), "watched"),
        most_(most),
        read_(read) {}

  void read(std::span<const std::uint32_t> samples, std::optional<TrainingPass> pass,
            const at::Tensor& inputs, const at::Tensor& targets) const override {
    if (static_cast<std::int64_t>(read_.size() + samples.size()) > most_)
      fail(ExitCode::kBadData, "unreadable");
    read_.insert(read_.end(), samples.begin(), samples.end());
    TensorSamples::read(samples, pass, inputs, targets);
  }

 private:
  std::int64_t most_;
  std::vector<std::uint32_t>& read_;
};

class ReadAhead : public testing::Test {
 protected:
  // By one rank, to the end of the second epoch.
  void train(std::int64_t most_readable, int pieces = 1) {
    World world = start_world();
    World alone = world.split(world.rank(), 0);
    const auto collectives = make_collectives(alone, {}, false, nullptr);
    const std::shared_ptr<Network> network = make_network("mlp", {});
    initialise_glorot_uniform(*network, 1);
    Callbacks callbacks;
    callbacks.on_step = [&](const StepReport&) {
      ++steps_;
      if (pieces > 1) return;
      const std::int64_t epoch = (steps_ - 1) / kSteps;
      const std::int64_t ahead = std::min((steps_ - epoch * kSteps + 1) * kBatch, kSamples);
      const std::int64_t expected = std::min<std::int64_t>(epoch * kSamples + ahead, most_readable);
      EXPECT_EQ(static_cast<std::int64_t>(read_.size()), expected) << "after step " << steps_;
    };
    Split split;
    split.training = all_indices(kSamples);
    TrainerConfig config;
    config.train.batch_size = kBatch;
    config.train.epochs = 2;
    config.train.accumulate = pieces;
    config.read_ahead = true;
    Trainer trainer(alone, *collectives, {},
                    {.model = network,
                     .data = std::make_shared<const WatchedSamples>(most_readable, read_),
                     .split = split,
                     .objective = std::make_shared<Classification>(10, 0),
                     .callbacks = callbacks},
                    config);
    trainer.begin_together();
    trainer.run();
  }

  std::int64_t steps_ = 0;
  std::vector<std::uint32_t> read_;
};

TEST_F(ReadAhead, ReadsEachSampleOnceAnEpoch) {
  for (const int pieces : {1, 3}) {
    read_.clear();
    steps_ = 0;
    train(1'000'000, pieces);
    EXPECT_EQ(steps_, 14);
    ASSERT_EQ(read_.size(), 2u * kSamples) << pieces << " pieces";
    for (const auto epoch : {read_.begin(), read_.begin() + kSamples}) {
      std::vector<std::uint32_t> samples(epoch, epoch + kSamples);
      std::ranges::sort(samples);
      for (std::uint32_t i = 0; i < kSamples; ++i) EXPECT_EQ(samples[i], i) << pieces << " pieces";
    }
  }
}

// The steps before it have ended, with all that follows a step.
TEST_F(ReadAhead, WhatCannotBeReadStopsTheStepThatNeedsIt) {
  EXPECT_THROW(train(3 * kBatch), Error);
  EXPECT_EQ(steps_, 3);
}

}  // namespace
}  // namespace lockstep
