// Sums in memory that ranks share, against those by messages.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "comm/backends.h"
#include "comm/shared_sums.h"
#include "lockstep/base/clock.h"
#include "lockstep/base/error.h"
#include "lockstep/base/random.h"

namespace lockstep::testing {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::HasSubstr;

World start_world() {
  int argc = 0;
  char** argv = nullptr;
  CommOptions options;
  options.collective_timeout = 30;
  return World::start(argc, argv, options);
}

// Of very different sizes, so that every order of adding them up has bits of its own.
std::vector<float> numbers_of(int rank, std::size_t count) {
  std::vector<std::uint32_t> words(count);
  fill_random_words({.seed = 11, .sample = static_cast<std::uint64_t>(rank)}, words);
  std::vector<float> numbers;
  for (const std::uint32_t word : words) {
    numbers.push_back((uniform_float(word) - 0.5f) * static_cast<float>(1u << (word % 24)));
  }
  return numbers;
}

void sum(Collectives& collectives, float* numbers, std::size_t count) {
  collectives.all_reduce({numbers, count}, ReduceOp::kSum, {"sums"})->wait();
}

void expect_the_bits_of_messages(World& world) {
  const auto collectives = make_mpi_collectives(world);
  constexpr std::size_t kMost = 300'001;
  const auto memory = collectives->allocate(kMost * sizeof(float));
  ASSERT_EQ(memory != nullptr, world.size() > 1);
  if (!memory) return;
  for (const std::size_t count : {1ul, 15ul, 16ul, 17ul, 33ul, 1024ul, 5000ul, kMost}) {
    const std::vector<float> own = numbers_of(world.rank(), count);
    std::vector<float> sent = own;
    sum(*collectives, sent.data(), count);
    auto* const shared = reinterpret_cast<float*>(memory.get());
    std::memcpy(shared, own.data(), count * sizeof(float));
    sum(*collectives, shared, count);
    EXPECT_EQ(std::memcmp(shared, sent.data(), count * sizeof(float)), 0) << count;
    EXPECT_NE(std::memcmp(shared, own.data(), count * sizeof(float)), 0) << count;
  }
}

TEST(SharedSums, HaveTheBitsOfMessages) {
  World world = start_world();
  expect_the_bits_of_messages(world);
}

TEST(SharedSums, HaveTheBitsOfMessagesAmongOneLess) {
  World world = start_world();
  if (world.size() < 4) GTEST_SKIP() << "needs four ranks to split";
  World part = world.split(world.rank() == 2 ? 1 : 0, world.rank());
  expect_the_bits_of_messages(part);
}

// A job whose ranks share memory for numbers.
class SharedNumbers : public ::testing::Test {
 protected:
  static constexpr std::size_t kBytes = std::size_t{1} << 20;
  void SetUp() override {
    if (!memory_) GTEST_SKIP() << "one rank shares with nobody";
  }
  int last_rank() const { return world_.size() - 1; }

  World world_ = start_world();
  std::unique_ptr<Collectives> collectives_ = make_mpi_collectives(world_);
  std::shared_ptr<std::byte> memory_ = collectives_->allocate(kBytes);
  float* numbers_ = reinterpret_cast<float*>(memory_.get());
};

// A rank that waits for something else does its share of the sums that others wait for. Either
// rank, since only one of them can be the one that comes late.
enum class Other { kMessage, kOtherMemory, kBarrier };
class SharedNumbersMeanwhile : public SharedNumbers, public ::testing::WithParamInterface<Other> {};
TEST_P(SharedNumbersMeanwhile, AreSummed) {
  const Other other = GetParam();
  const auto second = collectives_->allocate(64 * sizeof(float));
  std::vector<float> elsewhere(64, 1.0f);
  float* const others =
      other == Other::kOtherMemory ? reinterpret_cast<float*>(second.get()) : elsewhere.data();
  for (int waiting = 0; waiting < world_.size(); ++waiting) {
    std::fill_n(numbers_, 64, 1.0f);
    std::fill_n(others, 64, 1.0f);
    world_.barrier();
    const auto wait_for_other = [&] {
      if (other == Other::kBarrier) return world_.barrier();
      sum(*collectives_, others, 64);
    };
    // Issued while not everybody has, so that nothing is added up in the call.
    if (world_.rank() != waiting) {
      const Stopwatch watch;
      while (watch.seconds() < 0.01) std::this_thread::yield();
    }
    const auto pending = collectives_->all_reduce({numbers_, 64}, ReduceOp::kSum, {"sums"});
    if (world_.rank() == waiting) wait_for_other();
    pending->wait();
    EXPECT_EQ(numbers_[63], static_cast<float>(world_.size()));
    if (world_.rank() != waiting) wait_for_other();
  }
}
INSTANTIATE_TEST_SUITE_P(WhileARankWaitsForAnother, SharedNumbersMeanwhile,
                         ::testing::Values(Other::kMessage, Other::kOtherMemory, Other::kBarrier));

// More than there are places on a rank's board, waited for at the end, backwards.
TEST_F(SharedNumbers, ManyAreUnderWayAtOnce) {
  constexpr std::size_t kSums = 2500;
  constexpr std::size_t kCount = 48;
  static_assert(kSums * kCount * sizeof(float) <= kBytes);
  for (int round = 0; round < 3; ++round) {
    std::vector<std::unique_ptr<PendingOperation>> pending;
    for (std::size_t i = 0; i < kSums; ++i) {
      std::fill_n(numbers_ + i * kCount, kCount, static_cast<float>(i + 1));
      pending.push_back(
          collectives_->all_reduce({numbers_ + i * kCount, kCount}, ReduceOp::kSum, {"sums"}));
    }
    for (std::size_t i = kSums; i-- > 0;) {
      pending[i]->wait();
      const std::vector<float> sums(numbers_ + i * kCount, numbers_ + (i + 1) * kCount);
      ASSERT_THAT(sums,
                  Each(static_cast<float>((i + 1) * static_cast<std::size_t>(world_.size()))));
    }
  }
}

TEST_F(SharedNumbers, TakeOnlyFloat32SumsWithinTheMemory) {
  for (int i = 0; i < 64; ++i) numbers_[i] = static_cast<float>(world_.rank());
  collectives_->all_reduce({numbers_, 32}, ReduceOp::kMax, {"max"})->wait();
  collectives_->all_reduce({numbers_ + 32, 16, DataType::kInt32}, ReduceOp::kSum, {"int"})->wait();
  EXPECT_THAT(std::vector<float>(numbers_, numbers_ + 32), Each(static_cast<float>(last_rank())));
  EXPECT_THAT(std::vector<float>(numbers_ + 48, numbers_ + 64),
              Each(static_cast<float>(world_.rank())));
}

TEST(SharedSums, TakeNoBufferThatLeavesTheMemory) {
  World world = start_world();
  if (world.size() == 1) GTEST_SKIP() << "one rank shares with nobody";
  std::string reason;
  constexpr std::size_t kBytes = 4096;
  const auto memory = SharedMemory::create(world, SharedSums::part_bytes(kBytes), reason);
  ASSERT_NE(memory, nullptr) << reason;
  const SharedSums sums(memory, kBytes, world.rank(), world.size());
  std::byte* const first = sums.numbers();
  EXPECT_TRUE(sums.hold({first, 1024}));
  EXPECT_TRUE(sums.hold({first + 4092, 1}));
  EXPECT_TRUE(sums.hold({first + 4096, 0}));
  EXPECT_FALSE(sums.hold({first, 1025}));
  EXPECT_FALSE(sums.hold({first + 4, 1024}));
  EXPECT_FALSE(sums.hold({first + 4096, 1}));
  EXPECT_FALSE(sums.hold({first + 8192, 0}));
  EXPECT_FALSE(sums.hold({first - 4, 1}));
  EXPECT_FALSE(sums.hold({first + 2, 1}));
}

TEST_F(SharedNumbers, SpecialNumbersPass) {
  const bool last = world_.rank() == last_rank();
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  numbers_[0] = last ? std::numeric_limits<float>::quiet_NaN() : 1;
  numbers_[1] = last ? kInfinity : 1;
  numbers_[2] = std::numeric_limits<float>::denorm_min();
  numbers_[3] = -0.0f;
  sum(*collectives_, numbers_, 4);
  EXPECT_TRUE(std::isnan(numbers_[0]));
  EXPECT_EQ(numbers_[1], kInfinity);
  EXPECT_EQ(numbers_[2],
            std::numeric_limits<float>::denorm_min() * static_cast<float>(world_.size()));
  EXPECT_TRUE(std::signbit(numbers_[3]));
}

TEST_F(SharedNumbers, NoticesThatRanksSumDifferentNumbers) {
  const std::size_t count = world_.rank() == 0 ? 32 : 16;  // in one rank's slice
  try {
    sum(*collectives_, numbers_, count);
    FAIL() << "nobody noticed";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kInternal);
    EXPECT_THAT(error.what(), AllOf(HasSubstr("sums 32 "), HasSubstr("sums 16 ")));
  }
}

TEST(SharedSums, MemoryOutlivesTheCollectives) {
  World world = start_world();
  auto collectives = make_mpi_collectives(world);
  const auto memory = collectives->allocate(1 << 20);
  collectives.reset();
  if (!memory) GTEST_SKIP() << "one rank shares with nobody";
  std::memset(memory.get(), 1, 1 << 20);
  world.barrier();
  EXPECT_EQ(memory.get()[(1 << 20) - 1], std::byte{1});
}

TEST(SharedSums, OffAndAloneThereIsNoMemory) {
  World world = start_world();
  EXPECT_EQ(make_mpi_collectives(world, {.shared_memory = false})->allocate(64), nullptr);
  World alone = world.split(world.rank(), 0);
  EXPECT_EQ(make_mpi_collectives(alone)->allocate(64), nullptr);
}

// One rank that may have no such file: all of them go without, and the root knows why.
TEST(SharedMemory, IsThereForAllRanksOrForNone) {
  World world = start_world();
  if (world.size() == 1) GTEST_SKIP() << "one rank shares with nobody";
  // What others might take for themselves before they know is little.
  constexpr std::size_t kBytes = std::size_t{1} << 20;
  for (const int victim : {0, world.size() - 1}) {
    rlimit before{};
    ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
    const rlimit little{kBytes, before.rlim_max};
    if (world.rank() == victim) {
      ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &little), 0);
    }
    std::string reason;
    const auto memory = SharedMemory::create(world, kBytes, reason);
    ::setrlimit(RLIMIT_FSIZE, &before);
    EXPECT_EQ(memory, nullptr);
    EXPECT_EQ(reason.find("rank " + std::to_string(victim)) == 0, world.is_root()) << reason;
    EXPECT_EQ(reason.find("ulimit -f") != std::string::npos, world.is_root()) << reason;
  }
  std::string none;
  EXPECT_NE(SharedMemory::create(world, 100, none), nullptr);
}

}  // namespace
}  // namespace lockstep::testing
