// N ranks compute what one rank computes: gradients, losses, predictions; bit for bit with virtual
// ranks.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

#include "lockstep/model/initialisation.h"
#include "lockstep/model/network.h"
#include "lockstep/train/trainer.h"
#include "start_world.h"

namespace lockstep {
namespace {

// Blurred blobs whose place depends on the label: learnable, and enough for dropout and
// augmentation.
std::shared_ptr<const ImageSamples> blobs(std::int64_t count) {
  Dataset data;
  data.count = count;
  data.channels = 1;
  data.height = data.width = 28;
  data.source = "blobs";
  for (std::int64_t i = 0; i < count; ++i) {
    const auto label = static_cast<std::uint8_t>(i * 7 % kClasses);
    data.labels.push_back(label);
    for (int y = 0; y < 28; ++y) {
      for (int x = 0; x < 28; ++x) {
        const double dx = x - 6 - label % 5 * 4, dy = y - 9 - label / 5 * 9;
        const double noise = static_cast<double>((i * 131 + y * 17 + x * 7) % 23);
        data.pixels.push_back(static_cast<std::uint8_t>(
            std::min(255.0, 220 * std::exp(-(dx * dx + dy * dy) / 12) + noise)));
      }
    }
  }
  return std::make_shared<const ImageSamples>(std::make_shared<const Dataset>(std::move(data)),
                                              AugmentationOptions{});
}

struct Result {
  at::Tensor gradient;  // reduced, of the last step
  at::Tensor weights;
  at::Tensor buffers;
  double loss = 0;                           // sum over all steps
  std::vector<std::optional<double>> norms;  // by step, where gradients are clipped
};

TrainerConfig config_for(std::int64_t batch, std::int64_t steps) {
  TrainerConfig config;
  config.train.batch_size = batch;
  config.train.max_steps = steps;
  config.train.epochs = 100;
  config.train.log_every_steps = 1'000;  // the window's sums then hold all steps
  config.optimizer.name = "sgd";
  config.schedule.name = "constant";
  config.schedule.learning_rate = 0.02;
  return config;
}

Result train(World& world, const std::shared_ptr<const ImageSamples>& data,
             const TrainerConfig& config, const std::string& model = "lenet") {
  CommOptions options;
  options.collective_timeout = 60;
  const auto collectives = make_collectives(world, options, false, nullptr);
  const std::shared_ptr<Network> network = make_network(model, {});
  initialise_glorot_uniform(*network, config.train.seed);
  const auto objective = std::make_shared<Classification>(kClasses, config.train.label_smoothing);
  Result run;
  Callbacks callbacks;
  callbacks.on_step = [&](const StepReport& step) { run.norms.push_back(step.gradient_norm); };
  Split split;
  split.training = all_indices(data->size());
  Trainer trainer(world, *collectives, {},
                  {.model = network,
                   .data = data,
                   .split = split,
                   .objective = objective,
                   .callbacks = callbacks},
                  config);
  trainer.begin_together();
  trainer.run();
  run.gradient = trainer.parameters().gradients().clone();
  run.weights = trainer.parameters().weights().clone();
  run.buffers = trainer.parameters().buffers().values().clone();
  run.loss = trainer.state().window_sums.loss;
  return run;
}

double relative_difference(const at::Tensor& a, const at::Tensor& b) {
  return ((a - b).norm() / b.norm()).item<double>();
}

// Dropout and augmentation are on; 25 is divided by neither 2 nor 4.
TEST(Parity, ReducedGradientOfTheFirstStep) {
  World world = start_world();
  World alone = world.split(world.rank(), 0);
  const auto data = blobs(60);
  for (const std::string model : {"mlp", "lenet", "digits-cnn", "small-cnn"}) {
    for (const std::int64_t batch : {24, 25}) {
      const Result expected = train(alone, data, config_for(batch, 1), model);
      const Result run = train(world, data, config_for(batch, 1), model);
      EXPECT_LT(relative_difference(run.gradient, expected.gradient), 1e-5)
          << model << " " << batch;
    }
  }
}

TEST(Parity, LossesOverTwentySteps) {
  World world = start_world();
  World alone = world.split(world.rank(), 0);
  const auto data = blobs(200);
  TrainerConfig config = config_for(30, 20);
  for (const std::string model : {"mlp", "lenet"}) {
    const Result expected = train(alone, data, config, model);
    const Result run = train(world, data, config, model);
    EXPECT_NEAR(run.loss / expected.loss, 1.0, 1e-5) << model;
    EXPECT_LT(relative_difference(run.weights, expected.weights), 1e-4) << model;
  }
}

// 61 samples in batches of 20: the last batch has one sample, and three of four ranks have none.
TEST(Parity, MoreRanksThanSamplesInTheLastBatch) {
  World world = start_world();
  World alone = world.split(world.rank(), 0);
  const auto data = blobs(61);
  for (const std::string model : {"mlp", "lenet"}) {
    const Result expected = train(alone, data, config_for(20, 4), model);
    const Result run = train(world, data, config_for(20, 4), model);
    EXPECT_LT(relative_difference(run.gradient, expected.gradient), 1e-4) << model;
  }
}

TEST(Parity, VirtualRanksGiveTheSameBits) {
  World world = start_world();
  World alone = world.split(world.rank(), 0);
  const auto data = blobs(61);
  TrainerConfig config = config_for(20, 12);
  config.optimizer.name = "rmsprop";
  config.schedule.learning_rate = 1e-3;
  config.train.virtual_ranks = 4;
  config.train.ema_decay = 0.9;
  config.train.label_smoothing = 0.1;
  for (const std::string model : {"mlp", "lenet", "batchnorm-cnn"}) {
    const Result expected = train(alone, data, config, model);
    const Result run = train(world, data, config, model);
    EXPECT_TRUE(at::equal(run.weights, expected.weights)) << model;
    EXPECT_EQ(run.buffers.numel() > 0, model == "batchnorm-cnn");
    EXPECT_TRUE(at::equal(run.buffers, expected.buffers)) << model;
    EXPECT_EQ(run.loss, expected.loss);
  }
}

// Without the words of control, which are larger than any gradient here.
at::Tensor gradient_of(const Result& run) {
  return run.gradient.narrow(0, 0, run.weights.numel()).to(at::kDouble);
}

double norm_of(const Result& run) { return gradient_of(run).norm().item<double>(); }

// A shard of 25 samples at one rank, of 6 or 7 at four: fewer than the most pieces.
TEST(Parity, PiecesAddUpToTheGlobalBatch) {
  World world = start_world();
  World alone = world.split(world.rank(), 0);
  const auto data = blobs(60);
  for (const std::string model : {"mlp", "lenet", "digits-cnn"}) {
    TrainerConfig config = config_for(25, 1);
    const Result expected = train(alone, data, config, model);
    for (const int pieces : {3, 7, 1000}) {
      config.train.accumulate = pieces;
      const Result run = train(world, data, config, model);
      EXPECT_LT(relative_difference(gradient_of(run), gradient_of(expected)), 1e-5)
          << model << " " << pieces;
      EXPECT_NEAR(run.loss / expected.loss, 1.0, 1e-6);
    }
  }
}

// 5 samples a shard, and in the last batch one sample in all.
TEST(Parity, PiecesWithVirtualRanksGiveTheSameBits) {
  World world = start_world();
  World alone = world.split(world.rank(), 0);
  const auto data = blobs(61);
  TrainerConfig config = config_for(20, 8);
  config.train.virtual_ranks = 4;
  const auto with_pieces = [&](World& of, int pieces) {
    config.train.accumulate = pieces;
    return train(of, data, config);
  };
  const Result expected = with_pieces(alone, 3);
  EXPECT_TRUE(at::equal(with_pieces(world, 3).weights, expected.weights));
  EXPECT_FALSE(at::equal(with_pieces(alone, 1).weights, expected.weights)) << "proves nothing";
  EXPECT_TRUE(at::equal(with_pieces(alone, 5).weights, with_pieces(world, 1000).weights));
}

// One step of SGD moves the weights by the rate times the clipped gradient.
TEST(Parity, ClippingIsByTheNormOverAllRanks) {
  World world = start_world();
  World alone = world.split(world.rank(), 0);
  const auto data = blobs(60);
  TrainerConfig config = config_for(25, 1);
  const Result whole = train(world, data, config);
  EXPECT_EQ(whole.norms, std::vector<std::optional<double>>(1));
  const double norm = norm_of(whole);
  for (const double limit : {norm / 3, norm * 2}) {
    config.train.clip_norm = limit;
    const Result run = train(world, data, config);
    ASSERT_EQ(run.norms.size(), 1u);
    EXPECT_NEAR(run.norms[0].value() / norm, 1.0, 1e-6) << "before it was clipped";
    EXPECT_NEAR(norm_of(run) / std::min(limit, norm), 1.0, 1e-6);
    EXPECT_EQ(at::equal(run.weights, whole.weights), limit > norm);
    EXPECT_LT(relative_difference(run.weights, train(alone, data, config).weights), 1e-5);
  }
}

TEST(Parity, ClippingWithVirtualRanksGivesTheSameBits) {
  World world = start_world();
  World alone = world.split(world.rank(), 0);
  const auto data = blobs(61);
  TrainerConfig config = config_for(20, 12);
  config.train.virtual_ranks = 4;
  config.train.clip_norm = 0.5;
  const Result expected = train(alone, data, config);
  const Result run = train(world, data, config);
  EXPECT_TRUE(at::equal(run.weights, expected.weights));
  EXPECT_EQ(run.norms, expected.norms);
  EXPECT_EQ(run.norms.size(), 12u);
  EXPECT_GT(std::ranges::max(run.norms).value(), 0.5) << "clipped";
}

TEST(Parity, SixteenBitGradientsWithVirtualRanksGiveTheSameBits) {
  World world = start_world();
  World alone = world.split(world.rank(), 0);
  const auto data = blobs(61);
  TrainerConfig config = config_for(20, 8);
  config.train.virtual_ranks = 4;
  const Result whole = train(alone, data, config);
  config.train.accumulate = 2;
  config.train.clip_norm = 0.5;
  for (const std::string type : {"float16", "bfloat16"}) {
    config.train.reduce_dtype = type;
    const Result expected = train(alone, data, config);
    const Result run = train(world, data, config);
    EXPECT_TRUE(at::equal(run.weights, expected.weights)) << type;
    EXPECT_EQ(run.norms, expected.norms);
    EXPECT_EQ(run.loss, expected.loss);
    EXPECT_FALSE(at::equal(run.weights, whole.weights)) << type;
  }
}

TEST(Parity, SixteenBitGradientsTrainNearlyAlike) {
  World world = start_world();
  const auto data = blobs(60);
  TrainerConfig config = config_for(25, 1);
  const Result expected = train(world, data, config);
  for (const auto& [type, most] : {std::pair("float16", 4e-3), std::pair("bfloat16", 2e-2)}) {
    config.train.reduce_dtype = type;
    const Result run = train(world, data, config);
    EXPECT_LT(relative_difference(gradient_of(run), gradient_of(expected)), most) << type;
    EXPECT_EQ(at::equal(run.gradient, expected.gradient), world.size() == 1) << type;
    EXPECT_EQ(run.loss, expected.loss) << "the words of control stay float32";
  }
}

TEST(Parity, EvaluationHasTheSameBitsShardedOrOnTheRoot) {
  World world = start_world();
  World alone = world.split(world.rank(), 0);
  const auto data = blobs(143);
  const std::vector<std::uint32_t> indices = all_indices(data->size());
  const Classification objective(kClasses);
  auto network = make_network("lenet", {});
  at::manual_seed(1);
  for (at::Tensor& parameter : network->parameters()) {
    const at::NoGradGuard no_grad;
    parameter.copy_(at::rand(parameter.sizes()).sub(0.5).mul(0.2));
  }
  for (const std::int64_t chunk : {1, 10, 50, 1000}) {
    const auto expected =
        Evaluator(alone, {}, network, chunk, false).rows(*data, objective, indices);
    const auto sharded =
        Evaluator(world, {}, network, chunk, false).rows(*data, objective, indices);
    const auto root = Evaluator(world, {}, network, chunk, true).rows(*data, objective, indices);
    EXPECT_EQ(expected.size(), 1430u);
    EXPECT_EQ(sharded, world.is_root() ? expected : std::vector<float>{});
    EXPECT_EQ(root, world.is_root() ? expected : std::vector<float>{});
  }
}

}  // namespace
}  // namespace lockstep
