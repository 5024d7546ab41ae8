// Time: monotonic for durations and deadlines, UTC for records.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <string>

namespace lockstep {

using SteadyClock = std::chrono::steady_clock;

/// Seconds since construction or the last lap().
class Stopwatch {
 public:
  Stopwatch() : start_(SteadyClock::now()) {}
  double seconds() const {
    return std::chrono::duration<double>(SteadyClock::now() - start_).count();
  }
  /// Returns the seconds so far and starts again from zero.
  double lap() {
    const auto now = SteadyClock::now();
    const double elapsed = std::chrono::duration<double>(now - start_).count();
    start_ = now;
    return elapsed;
  }

 private:
  SteadyClock::time_point start_;
};

/// A moment that must not pass; seconds <= 0 means none.
class Deadline {
 public:
  explicit Deadline(double seconds)
      : seconds_(seconds),
        end_(SteadyClock::now() +
             std::chrono::duration_cast<SteadyClock::duration>(std::chrono::duration<double>(
                 seconds > 0 ? std::min(seconds, kMostSeconds) : 0))) {}
  bool passed() const { return seconds_ > 0 && SteadyClock::now() >= end_; }
  double seconds() const { return seconds_; }
  /// Starts the same number of seconds anew: for a waiter that has seen progress.
  void extend() { *this = Deadline(seconds_); }
  /// Moves it: for time in which nothing could have happened.
  void postpone(double seconds) {
    end_ +=
        std::chrono::duration_cast<SteadyClock::duration>(std::chrono::duration<double>(seconds));
  }

 private:
  // 30 years: what is longer would overflow the clock's count of nanoseconds.
  static constexpr double kMostSeconds = 1e9;

  double seconds_;
  SteadyClock::time_point end_;
};

/// Now in UTC as "2026-11-22T19:39:12Z".
std::string utc_timestamp();
/// Now in UTC as "20261122-193912": sorts by time and is safe in a file name.
std::string utc_file_stamp();
/// Seconds since 1970 as a double.
double unix_seconds();
/// Nanoseconds since 1970: the time of ledgers. May be called in a signal handler.
std::int64_t unix_nanoseconds() noexcept;

}  // namespace lockstep
