// What every backend does, whatever it is made of. Run at several numbers of ranks; a world of 3 is
// split off where there are 4.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "comm/float16.h"
#include "lockstep/base/clock.h"
#include "lockstep/base/error.h"
#include "lockstep/base/hash.h"
#include "lockstep/base/random.h"
#include "subject.h"

namespace lockstep::testing {
namespace {

World start_world(double timeout = 30) {
  int argc = 0;
  char** argv = nullptr;
  CommOptions options;
  options.collective_timeout = timeout;
  return World::start(argc, argv, options);
}

template <typename T>
constexpr DataType type_of() {
  if constexpr (std::is_same_v<T, float>) return DataType::kFloat32;
  if constexpr (std::is_same_v<T, double>) return DataType::kFloat64;
  if constexpr (std::is_same_v<T, std::int32_t>) return DataType::kInt32;
  if constexpr (std::is_same_v<T, std::int64_t>) return DataType::kInt64;
  return DataType::kUint8;
}

/// A typed buffer of a subject.
template <typename T>
class Values {
 public:
  Values(Subject& subject, const std::vector<T>& values, DataType type = type_of<T>())
      : subject_(subject),
        count_(values.size()),
        type_(type),
        data_(subject.allocate(count_ * sizeof(T))) {
    write(values);
  }
  void write(const std::vector<T>& values) {
    subject_.write(data_, std::as_bytes(std::span(values)));
  }
  Buffer buffer() const { return {data_, count_, type_}; }
  /// What work that comes after this in the compute stream would see.
  std::vector<T> values() {
    std::vector<T> values(count_);
    subject_.read(std::as_writable_bytes(std::span(values)), data_);
    subject_.finish();
    return values;
  }

 private:
  Subject& subject_;
  std::size_t count_;
  DataType type_;
  void* data_;
};

/// A type of 16 bits, whose elements C++ has as bits alone.
struct SixteenBits {
  DataType type;
  float (*widen)(std::uint16_t);
  std::uint16_t (*round)(float);
  double unit;  // half the distance between 1 and the next number
};
const SixteenBits kSixteenBits[] = {
    {DataType::kFloat16, widen_float16, round_to_float16, 0x1p-11},
    {DataType::kBfloat16, widen_bfloat16, round_to_bfloat16, 0x1p-8},
};

class Conformance : public ::testing::TestWithParam<SubjectFactory> {
 protected:
  void SetUp() override {
    world_ = std::make_unique<World>(start_world());
    if (const std::string reason = GetParam().unavailable(*world_); !reason.empty()) {
      GTEST_SKIP() << reason;
    }
    subject_ = GetParam().make(*world_);
  }
  Collectives& collectives() { return subject_->collectives(); }
  int rank() const { return world_->rank(); }
  int size() const { return world_->size(); }

  /// The sum over ranks of value_of(rank, i) for every i, as each type adds.
  template <typename T>
  void expect_sums(std::size_t count) {
    std::vector<T> own(count);
    std::vector<T> expected(count, T{0});
    for (int rank = 0; rank < size(); ++rank) {
      for (std::size_t i = 0; i < count; ++i) {
        const T value = static_cast<T>((static_cast<std::size_t>(rank) * 7 + i * 3) % 50);
        expected[i] = static_cast<T>(expected[i] + value);
        if (rank == this->rank()) own[i] = value;
      }
    }
    Values<T> values(*subject_, own);
    collectives().all_reduce(values.buffer(), ReduceOp::kSum, {"sums", 0, 1})->wait();
    EXPECT_EQ(values.values(), expected) << count << " elements of " << sizeof(T) << " bytes";
  }

  std::unique_ptr<World> world_;
  std::unique_ptr<Subject> subject_;
};

TEST_P(Conformance, SumsEveryTypeAtEverySize) {
  for (const std::size_t count : {1, 2, 3, 13, 14, 15, 64, 1000, 65537}) {
    expect_sums<float>(count);
    expect_sums<double>(count);
    expect_sums<std::int32_t>(count);
    expect_sums<std::int64_t>(count);
    expect_sums<std::uint8_t>(count);
  }
}

// Whole numbers of which the sums are exact.
TEST_P(Conformance, SumsSixteenBitNumbers) {
  for (const SixteenBits& bits : kSixteenBits) {
    for (const std::size_t count : {1, 2, 15, 16, 17, 1000, 1'100'000}) {
      std::vector<std::uint16_t> own(count);
      std::vector<std::uint16_t> expected(count);
      for (std::size_t i = 0; i < count; ++i) {
        int sum = 0;
        for (int other = 0; other < size(); ++other) {
          const int value = static_cast<int>((static_cast<std::size_t>(other) * 7 + i * 3) % 50);
          if (other == rank()) own[i] = bits.round(static_cast<float>(value));
          sum += value;
        }
        expected[i] = bits.round(static_cast<float>(sum));
      }
      Values<std::uint16_t> values(*subject_, own, bits.type);
      collectives().all_reduce(values.buffer(), ReduceOp::kSum, {"16 bits", 0, 1})->wait();
      EXPECT_TRUE(values.values() == expected) << count;
    }
  }
}

// Each sum of two is rounded, in an order that does not depend on the rank.
TEST_P(Conformance, RoundsSixteenBitSumsAlikeOnEveryRank) {
  constexpr std::size_t kCount = 10'007;
  for (const SixteenBits& bits : kSixteenBits) {
    std::vector<double> exact(kCount);
    std::vector<double> magnitude(kCount);
    std::vector<std::uint16_t> own(kCount);
    for (int other = 0; other < size(); ++other) {
      std::vector<std::uint32_t> words(kCount);
      fill_random_words({.seed = 6, .sample = static_cast<std::uint64_t>(other)}, words);
      for (std::size_t i = 0; i < kCount; ++i) {
        const std::uint16_t value = bits.round(uniform_float(words[i]) - 0.5f);
        exact[i] += bits.widen(value);
        magnitude[i] += std::abs(bits.widen(value));
        if (other == rank()) own[i] = value;
      }
    }
    Values<std::uint16_t> values(*subject_, own, bits.type);
    collectives().all_reduce(values.buffer(), ReduceOp::kSum, {"16 bits"})->wait();
    const std::vector<std::uint16_t> sums = values.values();
    for (std::size_t i = 0; i < kCount; ++i) {
      const double bound = (size() - 1) * bits.unit * magnitude[i] + 1e-7;
      ASSERT_NEAR(bits.widen(sums[i]), exact[i], bound) << i;
    }
    const Sha256Digest digest = sha256(std::as_bytes(std::span(sums)));
    EXPECT_THAT(world_->all_gather_value(digest), ::testing::Each(digest));
  }
}

TEST_P(Conformance, SixteenBitSumsOverflowToInfinity) {
  for (const SixteenBits& bits : kSixteenBits) {
    const float large = bits.type == DataType::kFloat16 ? 60'000.0f : 3e38f;
    Values<std::uint16_t> values(*subject_, std::vector<std::uint16_t>(100, bits.round(-large)),
                                 bits.type);
    collectives().all_reduce(values.buffer(), ReduceOp::kSum, {"16 bits"})->wait();
    for (const std::uint16_t sum : values.values()) {
      ASSERT_EQ(std::isinf(bits.widen(sum)), size() > 1);
    }
    if (size() == 1) continue;
    EXPECT_THROW(collectives().all_reduce(values.buffer(), ReduceOp::kMax, {"16 bits"}), Error);
  }
}

TEST_P(Conformance, SumsWhatNeedsManyMessages) { expect_sums<float>(887'530); }

TEST_P(Conformance, SumsInThreeRanks) {
  if (size() < 4) GTEST_SKIP() << "needs four ranks to split";
  World part = world_->split(rank() == 1 ? 1 : 0, rank());
  ASSERT_EQ(part.size(), rank() == 1 ? 1 : 3);
  const std::unique_ptr<Subject> subject = GetParam().make(part);
  Values<float> values(*subject, std::vector<float>(1000, static_cast<float>(rank())));
  subject->collectives().all_reduce(values.buffer(), ReduceOp::kSum, {"three"})->wait();
  EXPECT_THAT(values.values(), ::testing::Each(rank() == 1 ? 1.0f : 0.0f + 2.0f + 3.0f));
}

TEST_P(Conformance, TakesMaximaAndMinima) {
  const auto extreme = [](int rank) { return rank % 2 == 0 ? rank * 1.5 : -rank * 2.5; };
  double largest = extreme(0);
  double smallest = extreme(0);
  for (int rank = 1; rank < size(); ++rank) {
    largest = std::max(largest, extreme(rank));
    smallest = std::min(smallest, extreme(rank));
  }
  Values<double> maxima(*subject_, std::vector<double>(33, extreme(rank())));
  Values<double> minima(*subject_, std::vector<double>(33, extreme(rank())));
  collectives().all_reduce(maxima.buffer(), ReduceOp::kMax, {"max"})->wait();
  collectives().all_reduce(minima.buffer(), ReduceOp::kMin, {"min"})->wait();
  EXPECT_THAT(maxima.values(), ::testing::Each(largest));
  EXPECT_THAT(minima.values(), ::testing::Each(smallest));

  const std::int64_t big = std::numeric_limits<std::int64_t>::max() - rank();
  Values<std::int64_t> integers(*subject_, {big, -big});
  collectives().all_reduce(integers.buffer(), ReduceOp::kMax, {"max"})->wait();
  EXPECT_THAT(integers.values(),
              ::testing::ElementsAre(std::numeric_limits<std::int64_t>::max(),
                                     -std::numeric_limits<std::int64_t>::max() + size() - 1));
}

// Sums of numbers of all magnitudes depend on the order of summation, which must not depend on the
// rank.
TEST_P(Conformance, GivesEveryRankTheSameBits) {
  std::vector<float> own(10'007);
  RandomKey key;
  key.seed = 5;
  key.sample = static_cast<std::uint64_t>(rank());
  std::vector<std::uint32_t> words(own.size());
  fill_random_words(key, words);
  for (std::size_t i = 0; i < own.size(); ++i) {
    own[i] = (uniform_float(words[i]) - 0.5f) * std::pow(10.0f, static_cast<float>(i % 9) - 4);
  }
  Values<float> values(*subject_, own);
  collectives().all_reduce(values.buffer(), ReduceOp::kSum, {"bits"})->wait();
  const std::vector<float> sums = values.values();
  const Sha256Digest digest = sha256(std::as_bytes(std::span(sums)));
  EXPECT_THAT(world_->all_gather_value(digest), ::testing::Each(digest));
}

TEST_P(Conformance, BroadcastsFromEachRoot) {
  for (int root = 0; root < size(); ++root) {
    const auto values_of = [](int rank) {
      std::vector<std::int32_t> values(4099);
      std::iota(values.begin(), values.end(), rank * 10'000);
      return values;
    };
    Values<std::int32_t> values(*subject_, values_of(rank()));
    collectives().broadcast(values.buffer(), root, {"weights"})->wait();
    EXPECT_EQ(values.values(), values_of(root)) << "root " << root;
  }
}

TEST_P(Conformance, ExchangesWithEveryPeer) {
  // Recursive doubling: the partner differs in one bit; a rank without one exchanges with itself.
  for (int bit = 1; bit < std::max(size(), 2); bit *= 2) {
    const int peer = (rank() ^ bit) < size() ? rank() ^ bit : rank();
    const auto values_of = [](int rank) {
      std::vector<float> values(30'001);
      std::iota(values.begin(), values.end(), static_cast<float>(rank * 40'000));
      return values;
    };
    Values<float> send(*subject_, values_of(rank()));
    Values<float> receive(*subject_, std::vector<float>(30'001, -1.0f));
    collectives().exchange(send.buffer(), receive.buffer(), peer, {"tree"})->wait();
    EXPECT_EQ(receive.values(), values_of(peer));
    EXPECT_EQ(send.values(), values_of(rank()));
  }
}

TEST_P(Conformance, KeepsManyOperationsApartWhateverTheOrderOfWaits) {
  constexpr int kOperations = 24;
  std::vector<Values<double>> values;
  std::vector<std::unique_ptr<PendingOperation>> pending;
  for (int i = 0; i < kOperations; ++i) {
    values.emplace_back(*subject_,
                        std::vector<double>(static_cast<std::size_t>(100 + 37 * i), i + rank()));
    pending.push_back(
        collectives().all_reduce(values.back().buffer(), ReduceOp::kSum, {"bucket", i, 3}));
    collectives().progress();
  }
  for (int i = 0; i < kOperations; ++i) {
    const int chosen = (i * 7 + 5) % kOperations;
    pending[static_cast<std::size_t>(chosen)]->wait();
    const double expected = chosen * size() + size() * (size() - 1) / 2;
    EXPECT_THAT(values[static_cast<std::size_t>(chosen)].values(), ::testing::Each(expected));
  }
}

// A step of training: the gradient is written, reduced in buckets, read by the optimizer and at
// once overwritten by the next step; only the operation's own ordering keeps them apart.
TEST_P(Conformance, OrdersItselfBetweenWritesBeforeAndAfter) {
  constexpr std::size_t kCount = 5000;
  Values<float> gradient(*subject_, std::vector<float>(kCount, 0.0f));
  std::vector<std::vector<float>> seen(5, std::vector<float>(kCount));
  for (std::size_t step = 0; step < seen.size(); ++step) {
    gradient.write(
        std::vector<float>(kCount, static_cast<float>(rank() + 1) * static_cast<float>(step + 1)));
    const auto operation = collectives().all_reduce(
        gradient.buffer(), ReduceOp::kSum, {"gradient", 0, static_cast<std::int64_t>(step)});
    operation->wait();
    subject_->read(std::as_writable_bytes(std::span(seen[step])), gradient.buffer().data);
    gradient.write(std::vector<float>(kCount, -1.0f));
  }
  subject_->finish();
  const float ranks = static_cast<float>(size() * (size() + 1) / 2);
  for (std::size_t step = 0; step < seen.size(); ++step) {
    EXPECT_THAT(seen[step], ::testing::Each(ranks * static_cast<float>(step + 1))) << step;
  }
}

TEST_P(Conformance, TestBecomesTrueAndSynchronizeWaitsForAbandonedHandles) {
  Values<std::int32_t> tested(*subject_, {rank()});
  const auto operation = collectives().all_reduce(tested.buffer(), ReduceOp::kMax, {"tested"});
  const Deadline deadline(20);
  while (!operation->test()) ASSERT_FALSE(deadline.passed());
  operation->wait();
  EXPECT_EQ(tested.values()[0], size() - 1);

  Values<std::int32_t> abandoned(*subject_, std::vector<std::int32_t>(100'000, 1));
  collectives().all_reduce(abandoned.buffer(), ReduceOp::kSum, {"abandoned"});
  collectives().synchronize();
  EXPECT_THAT(abandoned.values(), ::testing::Each(size()));
  collectives().synchronize();
  collectives().progress();
}

TEST_P(Conformance, DoesNothingWithNothing) {
  const Buffer nothing{nullptr, 0, DataType::kFloat32};
  // Not even all ranks are needed.
  if (rank() == 0) {
    collectives().all_reduce(nothing, ReduceOp::kSum, {"empty"})->wait();
    collectives().broadcast(nothing, size() - 1, {"empty"})->wait();
    const auto operation = collectives().exchange(nothing, nothing, 0, {"empty"});
    EXPECT_TRUE(operation->test());
    operation->wait();
  }
  expect_sums<float>(10);
  // What one rank did alone is no operation that the others are behind with.
  const auto reading = read_ledger(world_->ledger().path());
  for (const std::uint64_t other : world_->all_gather_value(reading.last_operation())) {
    EXPECT_EQ(other, reading.last_operation());
  }
}

TEST_P(Conformance, RefusesRanksThatDoNotExist) {
  Values<float> a(*subject_, {1, 2});
  Values<float> b(*subject_, {1, 2, 3});
  EXPECT_THROW(collectives().broadcast(a.buffer(), size(), {"w"}), Error);
  EXPECT_THROW(collectives().broadcast(a.buffer(), -1, {"w"}), Error);
  EXPECT_THROW(collectives().exchange(a.buffer(), a.buffer(), size(), {"w"}), Error);
  EXPECT_THROW(collectives().exchange(a.buffer(), b.buffer(), 0, {"w"}), Error);
  expect_sums<float>(3);
}

TEST_P(Conformance, ProgressCostsNearlyNothingWhenNothingIsPending) {
  expect_sums<float>(10);
  collectives().synchronize();
  constexpr int kCalls = 10'000;
  double best = 1;
  for (int repeat = 0; repeat < 5; ++repeat) {
    const Stopwatch stopwatch;
    for (int i = 0; i < kCalls; ++i) collectives().progress();
    best = std::min(best, stopwatch.seconds() / kCalls);
  }
  EXPECT_LT(best, 1e-6);
}

// The last rank does not come: the others learn it within the bound, by the operation's name.
TEST_P(Conformance, GivesUpOnARankThatDoesNotCome) {
  if (size() == 1) GTEST_SKIP() << "needs a rank to wait for";
  subject_.reset();
  World part = world_->split(0, rank());
  part.enter_phase(Phase::kTraining, 0.25);
  // MPI goes on using the memory of an operation that was given up, until the process ends.
  static auto& kept = *new std::vector<std::unique_ptr<Subject>>;
  const auto& subject = kept.emplace_back(GetParam().make(part));
  Values<float> values(*subject, std::vector<float>(200'000, 1.0f));
  if (rank() != size() - 1) {
    const Stopwatch stopwatch;
    try {
      const auto operation =
          subject->collectives().all_reduce(values.buffer(), ReduceOp::kSum, {"gradients", 3, 412});
      operation->wait();
      subject->collectives().synchronize();
      ADD_FAILURE() << "an all-reduce without rank " << size() - 1;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kUnavailable);
      EXPECT_THAT(error.what(),
                  ::testing::HasSubstr("all_reduce 'gradients' bucket 3 of step 412"));
    }
    EXPECT_GE(stopwatch.seconds(), 0.24);
    EXPECT_LT(stopwatch.seconds(), 5);
  }
  world_->enter_phase(Phase::kTraining);
  world_->barrier();
}

// A rank that works alone for longer than the deadline, and says so, is waited for.
TEST_P(Conformance, WaitsForARankThatPublishesProgress) {
  Values<float> values(*subject_, {1.0f});
  world_->enter_phase(Phase::kCheckpoint, 0.25);
  if (rank() == 0) {
    const Stopwatch stopwatch;
    while (stopwatch.seconds() < 0.5) {
      timespec moment{0, 5'000'000};
      nanosleep(&moment, nullptr);
      world_->publish_progress();
    }
  }
  collectives().all_reduce(values.buffer(), ReduceOp::kSum, {"after the checkpoint"})->wait();
  collectives().synchronize();
  EXPECT_EQ(values.values()[0], static_cast<float>(size()));
}

INSTANTIATE_TEST_SUITE_P(Backends, Conformance, ::testing::ValuesIn(subject_factories()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace lockstep::testing
