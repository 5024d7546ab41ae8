// The sum over shards: right for every number of ranks, and the same bits with virtual ranks.
#include "lockstep/sync/gradient_reducer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/nn/modules/linear.h>

#include <bit>
#include <functional>
#include <limits>
#include <memory>
#include <span>
#include <string_view>
#include <utility>

#include "lockstep/base/clock.h"
#include "lockstep/base/error.h"
#include "lockstep/base/hash.h"
#include "lockstep/comm/options.h"
#include "lockstep/model/network.h"
#include "model/dense.h"
#include "small_world.h"

namespace lockstep {
namespace {

using ::testing::HasSubstr;

// One step over 8 pseudo-random samples cut into the reducer's shards; returns gradients and
// control words. Shards without samples skip backward, as in training.
at::Tensor reduced(World& world, const ReducerOptions& options, int samples = 8, int steps = 1,
                   bool shared = false) {
  const auto network = small_network();
  FlatParameters parameters(network, at::kCPU);
  const auto collectives = make_collectives(world, test_options(), false, nullptr);
  GradientReducer reducer(world, *collectives, parameters, options);
  const void* const before = parameters.gradients().const_data_ptr();
  if (shared) reducer.share_gradients();
  const bool sums_in_place =
      options.virtual_ranks == 0 && options.reduce_type == DataType::kFloat32;
  EXPECT_EQ(parameters.gradients().const_data_ptr() != before,
            shared && sums_in_place && world.size() > 1);
  at::manual_seed(3);
  const at::Tensor images = at::rand({samples, 1, 5, 4});
  const at::Tensor weights = at::rand({samples, 3});
  for (int step = 1; step <= steps; ++step) {
    reducer.begin_step(step);
    for (int local = 0; local < reducer.local_shards(); ++local) {
      const int shard = reducer.first_shard() + local;
      const int begin = samples * shard / reducer.total_shards();
      const int end = samples * (shard + 1) / reducer.total_shards();
      if (end > begin) {
        parameters.control_words()[0].add_(end - begin);
        (network->forward(images.narrow(0, begin, end - begin), {}) *
         weights.narrow(0, begin, end - begin))
            .sum()
            .backward();
      }
      reducer.finish_shard(local);
    }
    reducer.finish_step();
  }
  return parameters.gradients().clone();
}

// The types of 16 bits, and half the distance between 1 and the next number of each.
constexpr std::pair<DataType, double> kSixteenBits[] = {{DataType::kFloat16, 0x1p-11},
                                                        {DataType::kBfloat16, 0x1p-8}};

void expect_alike_on_every_rank(World& world, const at::Tensor& values) {
  const float* first = values.const_data_ptr<float>();
  const Sha256Digest digest =
      sha256(std::as_bytes(std::span(first, static_cast<std::size_t>(values.numel()))));
  EXPECT_THAT(world.all_gather_value(digest), ::testing::Each(digest));
}

// Counts what is issued.
class Counting final : public Collectives {
 public:
  explicit Counting(std::unique_ptr<Collectives> inner) : inner_(std::move(inner)) {}
  std::unique_ptr<PendingOperation> all_reduce(Buffer buffer, ReduceOp op,
                                               const OperationLabel& label) override {
    ++issued;
    bytes += buffer.bytes();
    return inner_->all_reduce(buffer, op, label);
  }
  std::unique_ptr<PendingOperation> broadcast(Buffer buffer, int root,
                                              const OperationLabel& label) override {
    ++issued;
    return inner_->broadcast(buffer, root, label);
  }
  std::unique_ptr<PendingOperation> exchange(Buffer send, Buffer receive, int peer,
                                             const OperationLabel& label) override {
    ++issued;
    bytes += send.bytes();
    return inner_->exchange(send, receive, peer, label);
  }
  std::shared_ptr<std::byte> allocate(std::size_t bytes) override {
    return inner_->allocate(bytes);
  }
  void progress() override { inner_->progress(); }
  void synchronize() override { inner_->synchronize(); }
  std::string_view backend() const override { return inner_->backend(); }
  bool on_device() const override { return inner_->on_device(); }

  int issued = 0;
  std::size_t bytes = 0;  // sent, as an all-reduce counts them once

 private:
  std::unique_ptr<Collectives> inner_;
};

TEST(GradientReducer, BucketsLeaveDuringBackwardOfTheLastShard) {
  World world = start_world();
  if (world.size() == 1) GTEST_SKIP() << "a single rank sends nothing";
  for (const int virtual_ranks : {0, 8}) {
    const auto network = small_network();
    FlatParameters parameters(network, at::kCPU);
    Counting collectives(make_collectives(world, test_options(), false, nullptr));
    GradientReducer reducer(world, collectives, parameters,
                            {.bucket_mb = 1e-5, .virtual_ranks = virtual_ranks});
    const auto buckets = static_cast<int>(reducer.buckets().size());
    ASSERT_GT(buckets, 1);
    reducer.begin_step(1);
    for (int local = 0; local < reducer.local_shards(); ++local) {
      EXPECT_EQ(collectives.issued, 0);
      network->forward(at::rand({1, 1, 5, 4}), {}).sum().backward();
      const bool last = local + 1 == reducer.local_shards();
      EXPECT_EQ(collectives.issued, last ? buckets : 0) << virtual_ranks << " " << local;
      reducer.finish_shard(local);
    }
    reducer.finish_step();
  }
}

TEST(GradientReducer, BucketsWaitForTheLastPassOfAShard) {
  World world = start_world();
  const auto network = small_network();
  FlatParameters parameters(network, at::kCPU);
  Counting collectives(make_collectives(world, test_options(), false, nullptr));
  GradientReducer reducer(world, collectives, parameters, {.bucket_mb = 1e-5});
  const auto buckets = world.size() == 1 ? 0 : static_cast<int>(reducer.buckets().size());
  at::manual_seed(9);
  const at::Tensor images = at::rand({3, 1, 5, 4});
  at::Tensor sums[2];
  for (const bool in_pieces : {false, true}) {
    collectives.issued = 0;
    reducer.begin_step(1);
    for (int piece = 0; in_pieces && piece < 2; ++piece) {
      reducer.expect_more(true);
      network->forward(images.narrow(0, piece, 1), {}).sum().backward();
      EXPECT_EQ(collectives.issued, 0);
    }
    reducer.expect_more(false);
    network->forward(in_pieces ? images.narrow(0, 2, 1) : images, {}).sum().backward();
    EXPECT_EQ(collectives.issued, buckets);
    reducer.finish_shard(0);
    reducer.finish_step();
    sums[in_pieces ? 1 : 0] = parameters.gradients().clone();
  }
  EXPECT_LT((sums[1] - sums[0]).norm().item<double>(), 1e-5 * sums[0].norm().item<double>());
}

TEST(GradientReducer, SumsOverRanksWhateverTheBuckets) {
  World world = start_world();
  World alone = world.split(world.rank(), 0);
  const at::Tensor expected = reduced(alone, {});
  for (const double bucket_mb : {1e-5, 0.02, 100.0}) {
    const at::Tensor sum = reduced(world, {.bucket_mb = bucket_mb}, 8, 3);
    EXPECT_LT((sum - expected).norm().item<double>(), 1e-5 * expected.norm().item<double>());
    EXPECT_EQ(sum[-16].item<float>(), 8.0f);
  }
}

TEST(GradientReducer, SharedMemoryChangesNoBit) {
  World world = start_world();
  for (const ReducerOptions& options :
       {ReducerOptions{.bucket_mb = 1e-5}, ReducerOptions{.bucket_mb = 100.0},
        ReducerOptions{.virtual_ranks = 8}, ReducerOptions{.reduce_type = DataType::kBfloat16}}) {
    const at::Tensor sent = reduced(world, options, 11, 3);
    EXPECT_TRUE(reduced(world, options, 11, 3, /*shared=*/true).equal(sent))
        << options.bucket_mb << " " << options.virtual_ranks;
    expect_alike_on_every_rank(world, sent);
  }
}

TEST(GradientReducer, LocalPassesStayOnTheirRank) {
  World world = start_world();
  const auto network = small_network();
  FlatParameters parameters(network, at::kCPU);
  const auto collectives = make_collectives(world, test_options(), false, nullptr);
  GradientReducer reducer(world, *collectives, parameters, {});
  const auto backward = [&] {
    const at::Tensor images = at::full({1, 1, 5, 4}, 1.0 + world.rank());
    network->forward(images, {}).sum().backward();
  };
  reducer.begin_local();
  backward();
  const at::Tensor own = parameters.gradients().clone();
  reducer.begin_local();
  backward();
  EXPECT_TRUE(own.equal(parameters.gradients())) << "each begin starts from zero";
  reducer.begin_step(1);
  backward();
  reducer.finish_shard(0);
  reducer.finish_step();
  EXPECT_EQ(own.equal(parameters.gradients()), world.size() == 1);
}

// Two weights and what a pass may do with them.
struct Pair : torch::nn::Module {
  Pair()
      : first(register_module("first", torch::nn::Linear(4, 3))),
        second(register_module("second", torch::nn::Linear(4, 3))) {}
  torch::nn::Linear first, second;
};

// Gradients of earlier steps lie where the next ones go, and must count nowhere.
TEST(GradientReducer, AStepTakesNothingFromTheOneBefore) {
  World world = start_world();
  for (const int virtual_ranks : {0, 8}) {
    at::manual_seed(11);
    const auto network = std::make_shared<Pair>();
    FlatParameters parameters(network, at::kCPU);
    const auto collectives = make_collectives(world, test_options(), false, nullptr);
    GradientReducer reducer(world, *collectives, parameters, {.virtual_ranks = virtual_ranks});
    const auto step = [&](const std::function<at::Tensor()>& loss) {
      // What is read before it is written shows.
      for (const auto& layer : {network->first, network->second}) {
        layer->weight.mutable_grad().fill_(std::numeric_limits<float>::quiet_NaN());
      }
      reducer.begin_step(1);
      for (int local = 0; local < reducer.local_shards(); ++local) {
        if (const at::Tensor value = loss(); value.defined()) value.backward();
        reducer.finish_shard(local);
      }
      reducer.finish_step();
      const double shards = reducer.total_shards();
      return std::pair(network->first->weight.grad() / shards,
                       network->second->weight.grad() / shards);
    };
    const at::Tensor x = at::rand({5, 4}), by_hand = at::ones({3, 5}).mm(x);
    const auto near = [](const at::Tensor& a, const at::Tensor& b) { return a.allclose(b, 1e-5); };
    const at::Tensor zero = at::zeros({3, 4});
    // By the layer's own operator and by lockstep's, which writes its gradient itself.
    for (const bool own : {false, true}) {
      const auto apply = [own](torch::nn::Linear& layer, const at::Tensor& in) {
        return own ? dense(layer, in) : layer(in);
      };
      const auto both = [&] {
        return (apply(network->first, x) + apply(network->second, x)).sum();
      };
      const auto all = step(both);
      EXPECT_TRUE(near(all.first, by_hand));
      EXPECT_TRUE(near(all.second, by_hand));
      const auto one = step([&] { return apply(network->second, x).sum(); });
      EXPECT_TRUE(one.first.equal(zero)) << "a layer that a pass leaves out";
      EXPECT_TRUE(near(one.second, by_hand));
      const auto none = step([] { return at::Tensor(); });
      EXPECT_TRUE(none.first.equal(zero)) << "no sample";
      EXPECT_TRUE(none.second.equal(zero));
      const auto twice =
          step([&] { return (apply(network->first, x) + apply(network->first, x)).sum(); });
      EXPECT_TRUE(near(twice.first, 2 * by_hand)) << "one layer twice";
      const auto mixed =
          step([&] { return (apply(network->first, x)).sum() + network->first->weight.sum(); });
      EXPECT_TRUE(near(mixed.first, by_hand + 1)) << "a weight with a term of its own";
      const auto inner = step([&] {
        const at::Tensor loss = both();
        EXPECT_TRUE(
            near(torch::autograd::grad({loss}, {network->first->weight}, {}, true)[0], by_hand));
        return loss;
      });
      EXPECT_TRUE(near(inner.first, by_hand)) << "after a gradient that was asked for";
    }
    // A sparse gradient, which only autograd can add.
    const auto rows = step([&] {
      return at::embedding(network->first->weight, at::tensor({2, 0, 2}, at::kLong), -1, false,
                           /*sparse=*/true)
          .sum();
    });
    const at::Tensor uses = at::tensor({1.0f, 0.0f, 2.0f}).view({3, 1}).expand({3, 4});
    EXPECT_TRUE(near(rows.first, uses));
    network->first->weight.register_hook([](const at::Tensor& gradient) { return 3 * gradient; });
    for (const bool own : {false, true}) {
      const auto hooked =
          step([&] { return (own ? dense(network->first, x) : network->first(x)).sum(); });
      EXPECT_TRUE(near(hooked.first, 3 * by_hand)) << "with a hook of the user's";
    }
  }
}

TEST(GradientReducer, IsTheOnlyOneOfItsParametersAndLeavesThemAsTheyWere) {
  World world = start_world();
  const auto network = small_network();
  FlatParameters parameters(network, at::kCPU);
  const auto collectives = make_collectives(world, test_options(), false, nullptr);
  const at::Tensor loss = network->forward(at::ones({1, 1, 5, 4}), {}).sum();
  {
    GradientReducer reducer(world, *collectives, parameters, {});
    EXPECT_THROW(GradientReducer(world, *collectives, parameters, {}), Error);
    reducer.begin_step(1);
    EXPECT_THROW(reducer.finish_step(), Error) << "no shard is finished";
  }
  parameters.zero_gradients();
  loss.backward({}, /*retain_graph=*/true);
  const at::Tensor once = parameters.gradients().clone();
  loss.backward();
  EXPECT_TRUE(parameters.gradients().allclose(2 * once)) << "autograd adds again";
  EXPECT_GT(once.norm().item<double>(), 0);
}

TEST(GradientReducer, MoreRanksThanSamples) {
  World world = start_world();
  World alone = world.split(world.rank(), 0);
  const at::Tensor expected = reduced(alone, {}, 1);
  const at::Tensor sum = reduced(world, {.bucket_mb = 1e-3}, 1);
  EXPECT_LT((sum - expected).norm().item<double>(), 1e-5 * expected.norm().item<double>());
}

TEST(GradientReducer, VirtualRanksGiveTheSameBitsAtAnyWorldSize) {
  World world = start_world();
  World alone = world.split(world.rank(), 0);
  for (const int virtual_ranks : {4, 8}) {
    for (const int samples : {8, 7, 3}) {
      for (const DataType type : {DataType::kFloat32, DataType::kFloat16, DataType::kBfloat16}) {
        const ReducerOptions options{
            .bucket_mb = 0.01, .virtual_ranks = virtual_ranks, .reduce_type = type};
        const at::Tensor expected = reduced(alone, options, samples);
        const at::Tensor sum = reduced(world, options, samples);
        EXPECT_TRUE(at::equal(sum, expected)) << virtual_ranks << " " << samples;
      }
    }
  }
  // Otherwise the test proves nothing: another tree rounds differently.
  EXPECT_FALSE(
      at::equal(reduced(alone, {.virtual_ranks = 8}), reduced(alone, {.virtual_ranks = 1})));
}

TEST(GradientReducer, SixteenBitSumsAreNearAndAlikeOnEveryRank) {
  World world = start_world();
  World alone = world.split(world.rank(), 0);
  const at::Tensor expected = reduced(alone, {});
  for (const auto& [type, unit] : kSixteenBits) {
    for (const int virtual_ranks : {0, 8}) {
      const at::Tensor sum = reduced(
          world, {.bucket_mb = 1e-3, .virtual_ranks = virtual_ranks, .reduce_type = type}, 8, 2);
      const std::int64_t gradients = sum.numel() - FlatParameters::kControlWords;
      const at::Tensor difference = (sum - expected).narrow(0, 0, gradients);
      const double error =
          (difference.norm() / expected.narrow(0, 0, gradients).norm()).item<double>();
      EXPECT_LT(error, 4 * unit) << virtual_ranks;
      if (world.size() > 1 || virtual_ranks > 0) {
        EXPECT_GT(error, unit / 16) << "rounded to more than 16 bits";
      } else {
        EXPECT_EQ(error, 0) << "nothing is summed";
      }
      EXPECT_EQ(sum[-16].item<float>(), 8.0f);
      expect_alike_on_every_rank(world, sum);
    }
  }
}

// All but the words of control, which 16 bits could not hold.
TEST(GradientReducer, SixteenBitsTakeHalfTheBytes) {
  World world = start_world();
  const auto network = small_network();
  FlatParameters parameters(network, at::kCPU);
  for (const int virtual_ranks : {0, 8}) {
    for (const DataType type : {DataType::kFloat32, DataType::kFloat16, DataType::kBfloat16}) {
      Counting collectives(make_collectives(world, test_options(), false, nullptr));
      GradientReducer reducer(
          world, collectives, parameters,
          {.bucket_mb = 1e-3, .virtual_ranks = virtual_ranks, .reduce_type = type});
      reducer.begin_step(1);
      if (world.is_root()) parameters.control_words()[1].fill_(16'777'215.0f);
      for (int local = 0; local < reducer.local_shards(); ++local) {
        network->forward(at::rand({1, 1, 5, 4}), {}).sum().backward();
        reducer.finish_shard(local);
      }
      reducer.finish_step();
      EXPECT_EQ(parameters.control_words()[1].item<float>(), 16'777'215.0f);
      const auto words = static_cast<std::size_t>(FlatParameters::kControlWords);
      const std::size_t once =
          static_cast<std::size_t>(parameters.size()) * size_of(type) + words * sizeof(float);
      const auto ranks = static_cast<unsigned>(world.size());
      const auto doublings = static_cast<std::size_t>(std::countr_zero(ranks));
      const std::size_t times = world.size() == 1 ? 0 : virtual_ranks == 0 ? 1 : doublings;
      EXPECT_EQ(collectives.bytes, times * once) << virtual_ranks;
    }
  }
}

TEST(GradientReducer, Float16OverflowsToWhatIsNotFinite) {
  World world = start_world();
  const auto network = small_network();
  FlatParameters parameters(network, at::kCPU);
  for (const int virtual_ranks : {0, 4}) {
    for (const auto& [type, unit] : kSixteenBits) {
      const auto collectives = make_collectives(world, test_options(), false, nullptr);
      GradientReducer reducer(world, *collectives, parameters,
                              {.virtual_ranks = virtual_ranks, .reduce_type = type});
      reducer.begin_step(1);
      bool sent_finite = true;
      for (int local = 0; local < reducer.local_shards(); ++local) {
        // One shard of all is too large.
        const bool large = reducer.first_shard() + local == 0;
        (network->forward(at::ones({1, 1, 5, 4}), {}) * (large ? 1e7 : 1.0)).sum().backward();
        sent_finite = sent_finite && reducer.as_sent().isfinite().all().item<bool>();
        reducer.finish_shard(local);
      }
      reducer.finish_step();
      const bool sums = world.size() > 1 || virtual_ranks > 0;
      EXPECT_EQ(parameters.gradients().isfinite().all().item<bool>(),
                type == DataType::kBfloat16 || !sums);
      EXPECT_EQ(sent_finite, type == DataType::kBfloat16 || !sums || !world.is_root());
    }
  }
}

// Alone it communicates with nobody, and the watchdog would end a long epoch after 1.1 s here.
TEST(GradientReducer, StepsOfASingleRankAreSignsOfLife) {
  World world = start_world();
  if (world.size() > 1) GTEST_SKIP() << "for a single rank";
  const auto network = small_network();
  FlatParameters parameters(network, at::kCPU);
  const auto collectives = make_collectives(world, test_options(), false, nullptr);
  GradientReducer reducer(world, *collectives, parameters, {});
  world.enter_phase(Phase::kTraining, 0.1);
  const Stopwatch watch;
  for (std::int64_t step = 1; watch.seconds() < 1.5; ++step) {
    reducer.begin_step(step);
    reducer.finish_shard(0);
    reducer.finish_step();
  }
}

TEST(GradientReducer, RefusesVirtualRanksThatDoNotFit) {
  World world = start_world();
  const auto network = small_network();
  FlatParameters parameters(network, at::kCPU);
  const auto collectives = make_collectives(world, {}, false, nullptr);
  for (const int virtual_ranks : {3, 6}) {
    try {
      GradientReducer(world, *collectives, parameters, {.virtual_ranks = virtual_ranks});
      FAIL() << "expected an Error";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kUsage);
      EXPECT_THAT(error.what(), HasSubstr("powers of two"));
    }
  }
  if (world.size() > 1) {
    EXPECT_THROW(
        GradientReducer(world, *collectives, parameters, {.virtual_ranks = world.size() / 2}),
        Error);
  }
}

// The plan for one MiB over so many, without a reducer.
std::vector<GradientReducer::Bucket> plan_of(const FlatParameters& parameters, double parts) {
  return GradientReducer::plan_buckets(parameters, 1 / parts, DataType::kFloat32);
}

TEST(GradientReducer, TheLastBucketIsSmall) {
  FlatParameters parameters(make_network("digits-cnn", {}), at::kCPU);
  const std::int64_t rest = parameters.gradients().numel() - parameters.size();
  // An eighth of a MiB takes the first two layers, a 32nd the first; nothing less takes its weight.
  for (const auto& [parts, last, floats] :
       {std::tuple{1.0, 4, 26464}, {4.0, 2, 832}, {32.0, 2, 832}}) {
    const auto buckets = plan_of(parameters, parts);
    EXPECT_EQ(buckets.back().parameters, last) << parts;
    EXPECT_EQ(buckets.back().count, floats + rest) << parts;
  }
  // In 16 bits, what follows the parameters comes after it.
  const auto small = GradientReducer::plan_buckets(parameters, 0.01, DataType::kBfloat16);
  std::int64_t next = 0;
  for (const auto& bucket : small) {
    EXPECT_EQ(bucket.offset, next);
    next += bucket.count;
  }
  EXPECT_EQ(next, parameters.gradients().numel());
  EXPECT_EQ(small.back().parameters, 0);
  EXPECT_EQ(small[small.size() - 2].parameters, 2);
  // What fits into a bucket at the ends stays whole, and so does one that ends with a large
  // parameter.
  EXPECT_EQ(plan_of(parameters, 1e-3).size(), 1u);
  EXPECT_EQ(plan_of(parameters, 4096).back().parameters, 2);
}

TEST(GradientReducer, BucketsCoverTheBufferAndStartSmall) {
  World world = start_world();
  auto network = make_network("digits-cnn", {});
  FlatParameters parameters(network, at::kCPU);
  const auto collectives = make_collectives(world, {}, false, nullptr);
  const auto buckets =
      GradientReducer(world, *collectives, parameters, {.bucket_mb = 0.25}).buckets();
  std::int64_t next = 0;
  for (const auto& bucket : buckets) {
    EXPECT_EQ(bucket.offset, next);
    next += bucket.count;
  }
  EXPECT_EQ(next, parameters.gradients().numel());
  EXPECT_GT(buckets.size(), 2u);
  const GradientReducer narrow(
      world, *collectives, parameters,
      {.bucket_mb = 0.25, .virtual_ranks = world.size(), .reduce_type = DataType::kBfloat16});
  EXPECT_EQ(narrow.buckets().size(), buckets.size() + 1);
  EXPECT_EQ(narrow.buckets().back().offset, parameters.size());
}

}  // namespace
}  // namespace lockstep
