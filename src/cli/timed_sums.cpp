#include "timed_sums.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "data_plane_memory.h"
#include "lockstep/base/clock.h"

namespace lockstep {

namespace {

// Small whole numbers, different for neighbouring elements, ranks and repetitions: their sums are
// exact in float32 in any order.
class Pattern {
 public:
  explicit Pattern(int ranks) {
    for (int at = 0; at < kPeriod; ++at) {
      for (int rank = 0; rank < ranks; ++rank) sums_[at] += value(at, rank);
    }
  }
  void fill(float* values, std::int64_t count, int rank, int repeat) const {
    int at = start(repeat);
    for (std::int64_t i = 0; i < count; ++i, at = next(at)) values[i] = value(at, rank);
  }
  std::int64_t wrong(const float* values, std::int64_t count, int repeat) const {
    std::int64_t wrong = 0;
    int at = start(repeat);
    // By bits: to the processor, which flushes denormals, the smallest of them equal 0.
    for (std::int64_t i = 0; i < count; ++i, at = next(at)) {
      wrong += bits(values[i]) != bits(sums_[at]) ? 1 : 0;
    }
    return wrong;
  }

 private:
  static constexpr int kPeriod = 509;
  static std::uint32_t bits(float value) { return std::bit_cast<std::uint32_t>(value); }
  static int start(int repeat) { return repeat % kPeriod * 101 % kPeriod; }
  static int next(int at) { return at + 31 < kPeriod ? at + 31 : at + 31 - kPeriod; }
  static float value(int at, int rank) {
    return static_cast<float>((at + rank % kPeriod * 17) % kPeriod - kPeriod / 2);
  }
  float sums_[kPeriod] = {};
};

}  // namespace

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  if (values.size() % 2 != 0) return *middle;
  return (*middle + *std::max_element(values.begin(), middle)) / 2;
}

double greatest(World& world, double value) {
  const std::vector<double> values = world.all_gather_value(value);
  return *std::ranges::max_element(values);
}

TimedSums time_sums(World& world, Collectives& collectives, const ComputeDevice& device,
                    std::int64_t bytes, const Repeats& repeats, const char* name, std::byte* own) {
  const Pattern pattern(world.size());
  DataPlaneMemory<float> meeting(1, device);
  DataPlaneMemory<float> memory = own != nullptr ? DataPlaneMemory<float>(bytes / 4, own)
                                                 : DataPlaneMemory<float>(bytes / 4, device);
  TimedSums result;
  int repeat = 0;
  const auto fill = [&](DataPlaneMemory<float>& values) {
    pattern.fill(values.host(), values.count(), world.rank(), repeat);
    values.upload();
  };
  const auto sum = [&](DataPlaneMemory<float>& values) {
    const Stopwatch stopwatch;
    finish(collectives, *collectives.all_reduce(values.buffer(DataType::kFloat32), ReduceOp::kSum,
                                                {.name = name}));
    return stopwatch.seconds();
  };
  const auto check = [&](DataPlaneMemory<float>& values) {
    values.download();
    result.wrong += pattern.wrong(values.host(), values.count(), repeat);
  };
  const auto once = [&] {
    fill(meeting);
    fill(memory);
    sum(meeting);  // all begin together
    const double seconds = sum(memory);
    check(meeting);
    check(memory);
    ++repeat;
    return seconds;
  };
  once();
  const double fitting = repeats.seconds / greatest(world, once());
  const int count =
      static_cast<int>(std::clamp<double>(std::floor(fitting), repeats.least, repeats.most));
  for (int i = 0; i < count; ++i) result.seconds.push_back(once());
  return result;
}

}  // namespace lockstep
