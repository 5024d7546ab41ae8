// What a step in mid-run takes from the heap: LibTorch makes a graph each time, lockstep's own code
// next to nothing.
#include <gtest/gtest.h>

#include "lockstep/model/initialisation.h"
#include "lockstep/model/network.h"
#include "lockstep/train/trainer.h"
#include "own_allocations.h"
#include "start_world.h"

namespace lockstep {
namespace {

std::shared_ptr<const ImageSamples> noise(std::int64_t count) {
  Dataset data;
  data.count = count;
  data.channels = 1;
  data.height = data.width = 28;
  data.source = "noise";
  for (std::int64_t i = 0; i < count; ++i) {
    data.labels.push_back(static_cast<std::uint8_t>(i % kClasses));
    for (int pixel = 0; pixel < 28 * 28; ++pixel) {
      data.pixels.push_back(static_cast<std::uint8_t>((i * 131 + pixel * 17) % 251));
    }
  }
  return std::make_shared<const ImageSamples>(std::make_shared<const Dataset>(std::move(data)),
                                              AugmentationOptions{});
}

// Of this program's own code, in each step but the first few.
std::vector<OwnAllocations> steps_of(World& world, const std::string& model, std::int64_t batch) {
  CommOptions options;
  options.collective_timeout = 60;
  const auto collectives = make_collectives(world, options, false, nullptr);
  TrainerConfig config;
  config.train.batch_size = batch;
  config.train.max_steps = 12;
  config.train.epochs = 100;
  config.train.log_every_steps = 1'000;
  config.train.ema_decay = 0.9;
  const std::shared_ptr<Network> network = make_network(model, {});
  initialise_glorot_uniform(*network, 1);
  const auto data = noise(12 * batch);
  std::vector<OwnAllocations> steps;
  OwnAllocations before;
  Callbacks callbacks;
  steps.reserve(12);
  callbacks.on_step = [&](const StepReport& report) {
    const OwnAllocations now = own_allocations();
    if (report.cursor.global_step > 4) steps.push_back(now - before);
    before = own_allocations();
  };
  Split split;
  split.training = all_indices(data->size());
  Trainer trainer(world, *collectives, {},
                  {.model = network,
                   .data = data,
                   .split = split,
                   .objective = std::make_shared<Classification>(kClasses),
                   .callbacks = callbacks},
                  config);
  trainer.begin_together();
  trainer.run();
  return steps;
}

// A graph's nodes for the functions of ours, some fifteen small pieces each, and some six for each
// of the three messages: no more where there are more samples. How many exactly depends on when
// messages arrive.
TEST(Allocations, OfAStepAreFewAndSmall) {
  World world = start_world();
  for (const std::int64_t batch : {8, 40}) {
    const std::vector<OwnAllocations> steps = steps_of(world, "digits-cnn", batch);
    ASSERT_EQ(steps.size(), 8u);
    for (const OwnAllocations& step : steps) {
      EXPECT_LE(step.count, world.size() == 1 ? 140 : 160) << batch;
      EXPECT_LE(step.bytes, 20'000) << batch;
      EXPECT_LE(step.largest, 1024) << batch;
    }
  }
}

}  // namespace
}  // namespace lockstep
