#include "lockstep/model/executor.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <limits>
#include <stdexcept>
#include <thread>
#include <vector>

namespace lockstep {
namespace {

class LibTorchExecutorTest : public testing::Test {
 protected:
  ~LibTorchExecutorTest() override { at::set_num_threads(before_); }

  const int before_ = at::get_num_threads();
  LibTorchExecutor executor_;
};

// Where threads wait until so many of them have begun, or for long enough.
class Meeting {
 public:
  explicit Meeting(int threads) : threads_(threads) {}
  bool met() {
    ++begun_;
    while (begun_ < threads_ && std::chrono::steady_clock::now() < end_) std::this_thread::yield();
    return begun_ >= threads_;
  }

 private:
  int threads_;
  std::atomic<int> begun_ = 0;
  const std::chrono::steady_clock::time_point end_ =
      std::chrono::steady_clock::now() + std::chrono::seconds(20);
};

TEST_F(LibTorchExecutorTest, RunsEachPartOnce) {
  for (const int threads : {1, 2, 3, 8}) {
    at::set_num_threads(threads);
    EXPECT_EQ(executor_.workers(), threads);
    for (const std::int64_t count : {0, 1, 2, 7, 1000}) {
      std::vector<std::atomic<int>> times(static_cast<std::size_t>(count));
      std::vector<std::atomic<bool>> busy(static_cast<std::size_t>(threads));
      const auto part = [&](std::int64_t index, int worker) {
        EXPECT_FALSE(busy.at(static_cast<std::size_t>(worker)).exchange(true));
        ++times.at(static_cast<std::size_t>(index));
        busy.at(static_cast<std::size_t>(worker)) = false;
      };
      executor_.run(count, PartialTask(part));
      for (const auto& time : times) EXPECT_EQ(time, 1) << count << " parts, " << threads;
    }
  }
}

// What at::parallel_for does not do where it is compiled without OpenMP.
TEST_F(LibTorchExecutorTest, PartsRunAtTheSameTime) {
#if !defined(__GNUC__) || defined(__clang__)
  GTEST_SKIP() << "compiled without OpenMP";
#endif
  at::set_num_threads(3);
  Meeting meeting(3);
  const auto part = [&](std::int64_t, int) {
    EXPECT_TRUE(meeting.met()) << "each waits for the others to begin";
  };
  executor_.run(3, PartialTask(part));
}

TEST_F(LibTorchExecutorTest, ThrowsWhatAPartThrows) {
  for (const int threads : {1, 3}) {
    at::set_num_threads(threads);
    const auto part = [&](std::int64_t index, int) {
      if (index == 5) throw std::runtime_error("five");
    };
    EXPECT_THROW(executor_.run(20, PartialTask(part)), std::runtime_error) << threads;
    std::atomic<int> done = 0;
    const auto next = [&](std::int64_t, int) { ++done; };
    executor_.run(20, PartialTask(next));
    EXPECT_EQ(done, 20);
  }
}

TEST_F(LibTorchExecutorTest, NestedRunsStayInTheirThread) {
  at::set_num_threads(3);
  std::atomic<int> done = 0;
  const auto outer = [&](std::int64_t, int) {
    const std::thread::id own = std::this_thread::get_id();
    const auto inner = [&](std::int64_t, int) {
      EXPECT_EQ(std::this_thread::get_id(), own);
      ++done;
    };
    executor_.run(4, PartialTask(inner));
  };
  executor_.run(3, PartialTask(outer));
  EXPECT_EQ(done, 12);
}

// Results would else depend on which thread made them.
TEST_F(LibTorchExecutorTest, ThreadsFlushDenormalsAsTheCallerDoes) {
  at::set_num_threads(3);
  for (const bool flush : {true, false, true}) {
    if (!at::globalContext().setFlushDenormal(flush)) GTEST_SKIP() << "not on this processor";
    std::vector<float> halves(64);
    Meeting meeting(3);
    const auto part = [&](std::int64_t index, int) {
      volatile float least = std::numeric_limits<float>::min();
      halves[static_cast<std::size_t>(index)] = least / 2;
      meeting.met();
    };
    executor_.run(64, PartialTask(part));
    for (const float half : halves) EXPECT_EQ(half == 0, flush);
  }
  at::globalContext().setFlushDenormal(false);
}

}  // namespace
}  // namespace lockstep
