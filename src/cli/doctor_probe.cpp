#include "doctor_probe.h"

#include <ATen/Parallel.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/ones.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <utility>

#include "data_plane_memory.h"
#include "lockstep/base/clock.h"
#include "timed_sums.h"

namespace lockstep {

namespace {

constexpr int kClockRounds = 10;
constexpr int kComputeRepeats = 11;
// Long against a turn of the scheduler, so that ranks that share a core share it evenly.
constexpr std::int64_t kCpuMatrix = 768;
constexpr std::int64_t kGpuMatrix = 4096;
constexpr std::int64_t kAllReduceBytes[] = {4, 4 << 10, 64 << 10, 1 << 20, 4 << 20, kLargestSum};
constexpr double kSecondsPerSize = 0.1;
constexpr int kLeastRepeats = 5;
constexpr int kMostRepeats = 50;
constexpr double kLongest = 1.0;
constexpr int kShortMessages = 25;
constexpr int kLongMessages = 5;
constexpr int kTournaments = 2;
constexpr double kSecondsForLinks = 10;  // of many ranks or slow links; less work a pair beyond
constexpr std::int64_t kShortBytes = 8;

double processor_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

// What one end of a link has seen of it.
struct PeerTime {
  int peer = -1;
  double latency = 0;
  double seconds = 0;
  std::int64_t wrong = 0;
};

class LinkProbe {
 public:
  LinkProbe(World& world, Collectives& collectives, const ComputeDevice& device, std::int64_t bytes)
      : world_(world),
        collectives_(collectives),
        short_send_(kShortBytes, device),
        short_receive_(kShortBytes, device),
        long_send_(bytes, device),
        long_receive_(bytes, device) {}

  /// Equal on both sides. From 1, all messages, to 0, the fewest from which a median says
  /// something.
  void set_effort(double effort) {
    const auto scaled = [effort](int most, int least) {
      return std::clamp(static_cast<int>(effort * most), least, most);
    };
    short_messages_ = scaled(kShortMessages, 5);
    long_messages_ = scaled(kLongMessages, 1);
  }

  PeerTime measure(int peer) {
    PeerTime time;
    time.peer = peer;
    exchange(short_send_, short_receive_, time);  // the pair meets, and connects if it has not yet
    std::vector<double> seconds;
    seconds.reserve(static_cast<std::size_t>(std::max(short_messages_, long_messages_)));
    for (int i = 0; i < short_messages_; ++i) {
      seconds.push_back(exchange(short_send_, short_receive_, time));
    }
    time.latency = median(seconds);
    exchange(long_send_, long_receive_, time);
    seconds.clear();
    for (int i = 0; i < long_messages_; ++i) {
      exchange(short_send_, short_receive_, time);  // both begin together
      seconds.push_back(exchange(long_send_, long_receive_, time));
    }
    time.seconds = median(seconds);
    return time;
  }

 private:
  static std::uint8_t value(std::int64_t at, int rank, int round) {
    return static_cast<std::uint8_t>(at * 7 + std::int64_t{rank} * 13 + round);
  }

  double exchange(DataPlaneMemory<std::uint8_t>& send, DataPlaneMemory<std::uint8_t>& receive,
                  PeerTime& time) {
    ++round_[time.peer];
    const int round = round_[time.peer];
    for (std::int64_t i = 0; i < send.count(); ++i) send.host()[i] = value(i, world_.rank(), round);
    std::memset(receive.host(), 0, static_cast<std::size_t>(receive.count()));
    send.upload();
    receive.upload();
    const Stopwatch stopwatch;
    finish(collectives_,
           *collectives_.exchange(send.buffer(DataType::kUint8), receive.buffer(DataType::kUint8),
                                  time.peer, {"doctor"}));
    const double seconds = stopwatch.seconds();
    receive.download();
    for (std::int64_t i = 0; i < receive.count(); ++i) {
      time.wrong += receive.host()[i] != value(i, time.peer, round) ? 1 : 0;
    }
    return seconds;
  }

  World& world_;
  Collectives& collectives_;
  DataPlaneMemory<std::uint8_t> short_send_, short_receive_, long_send_, long_receive_;
  std::map<int, int> round_;
  int short_messages_ = kShortMessages;
  int long_messages_ = kLongMessages;
};

// The opponent in round `round` of a tournament in which everyone meets everyone: the circle method
// for an even number of players, of whom the last stands still. -1: none.
int opponent(int rank, int round, int ranks) {
  const int players = ranks + ranks % 2;
  const int moving = players - 1;
  int other;
  if (rank == players - 1) {
    // Meets the one that would meet itself: 2 * other == round, modulo the odd number of movers.
    other = round * (players / 2) % moving;
  } else {
    other = (round - rank + moving) % moving;
    if (other == rank) other = players - 1;
  }
  return other < ranks ? other : -1;
}

}  // namespace

std::vector<ClockReading> read_clocks(World& world) {
  std::vector<ClockReading> clocks(static_cast<std::size_t>(world.size()));
  for (int round = 0; round < kClockRounds; ++round) {
    const double sent = world.broadcast_value(unix_seconds());
    const double own = unix_seconds();
    std::vector<std::vector<std::byte>> answers;
    world.gather_bytes(std::as_bytes(std::span(&own, 1)), answers);
    const double received = unix_seconds();
    for (std::size_t rank = 0; rank < answers.size(); ++rank) {
      double clock = 0;
      std::memcpy(&clock, answers[rank].data(), sizeof(clock));
      const double uncertainty = (received - sent) / 2;
      if (round > 0 && uncertainty >= clocks[rank].uncertainty) continue;
      clocks[rank] = {clock - (sent + received) / 2, uncertainty};
    }
  }
  return clocks;
}

std::vector<ComputeTime> time_computing(World& world, const ComputeDevice& device,
                                        FaultPlan& faults) {
  const std::int64_t n = device.is_cuda() ? kGpuMatrix : kCpuMatrix;
  const at::Tensor a = at::ones({n, n}, at::TensorOptions().device(device.device));
  // Reading an element waits for the GPU.
  const auto product = [&] { return at::mm(a, a).sum().item<float>(); };
  product();
  world.barrier();
  std::vector<double> seconds;
  double processor = 0;
  for (int i = 0; i < kComputeRepeats; ++i) {
    const double before = processor_seconds();
    const Stopwatch stopwatch;
    faults.reach(FaultPlace::kForward, world.rank(), i + 1);
    product();
    seconds.push_back(stopwatch.seconds());
    processor += processor_seconds() - before;
  }
  double all = 0;
  for (const double time : seconds) all += time;
  ComputeTime time;
  time.seconds = median(seconds);
  time.gflops = 2e-9 * static_cast<double>(n * n * n) / time.seconds;
  time.cpu_share = device.is_cuda() ? 0 : std::min(1.0, processor / all / at::get_num_threads());
  return world.all_gather_value(time);
}

std::vector<AllReduceTime> time_all_reduce(World& world, Collectives& collectives,
                                           const ComputeDevice& device, std::byte* memory) {
  std::vector<AllReduceTime> rows;
  for (const std::int64_t bytes : kAllReduceBytes) {
    if (!rows.empty()) {
      const auto growth = static_cast<double>(bytes) / static_cast<double>(rows.back().bytes);
      if (rows.back().seconds * growth > kLongest && rows.back().bytes >= 4096) break;
    }
    const TimedSums sums =
        time_sums(world, collectives, device, bytes,
                  {.least = kLeastRepeats, .most = kMostRepeats, .seconds = kSecondsPerSize},
                  "doctor", memory);
    rows.push_back(
        {bytes, greatest(world, median(sums.seconds)), world.all_gather_value(sums.wrong)});
  }
  return rows;
}

std::vector<LinkTime> time_links(World& world, Collectives& collectives,
                                 const ComputeDevice& device, std::int64_t bytes) {
  LinkProbe probe(world, collectives, device, bytes);
  // The better of several tournaments: what disturbs a link once is not the link's.
  std::vector<PeerTime> own;
  const int rounds = world.size() - 1 + world.size() % 2;
  int tournaments = kTournaments;
  for (int tournament = 0; tournament < tournaments; ++tournament) {
    std::size_t match = 0;
    for (int round = 0; round < rounds; ++round) {
      const int peer = opponent(world.rank(), round, world.size());
      const Stopwatch stopwatch;
      PeerTime time;
      if (peer >= 0) time = probe.measure(peer);
      if (tournament == 0 && round == 0) {
        // What all take is agreed from the slowest of the first pairs.
        const double all = greatest(world, stopwatch.seconds()) * rounds * kTournaments;
        if (all > kSecondsForLinks) {
          tournaments = 1;
          probe.set_effort(kTournaments * kSecondsForLinks / all);
        }
      }
      if (peer < 0) continue;
      if (tournament == 0) {
        own.push_back(time);
      } else {
        own[match].latency = std::min(own[match].latency, time.latency);
        own[match].seconds = std::min(own[match].seconds, time.seconds);
        own[match].wrong += time.wrong;
      }
      ++match;
    }
  }
  std::vector<std::vector<std::byte>> gathered;
  world.gather_bytes(std::as_bytes(std::span(own)), gathered);
  std::map<std::pair<int, int>, LinkTime> links;
  for (std::size_t rank = 0; rank < gathered.size(); ++rank) {
    std::vector<PeerTime> seen(gathered[rank].size() / sizeof(PeerTime));
    if (!seen.empty()) std::memcpy(seen.data(), gathered[rank].data(), gathered[rank].size());
    for (const PeerTime& time : seen) {
      const auto [first, second] = std::minmax({static_cast<int>(rank), time.peer});
      LinkTime& link = links[{first, second}];
      link.first = first;
      link.second = second;
      link.latency = std::max(link.latency, time.latency);
      const double rate = static_cast<double>(bytes) / time.seconds;
      link.bytes_per_second =
          link.bytes_per_second > 0 ? std::min(link.bytes_per_second, rate) : rate;
      (time.peer == first ? link.wrong_from_first : link.wrong_from_second) += time.wrong;
    }
  }
  std::vector<LinkTime> result;
  result.reserve(links.size());
  for (const auto& [ranks, link] : links) result.push_back(link);
  return result;
}

}  // namespace lockstep
