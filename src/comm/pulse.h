// Signs of life and questions between ranks, and how a rank waits: polling with a deadline that
// others' progress extends.
#pragma once

#include <mpi.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "lockstep/base/clock.h"
#include "lockstep/comm/watchdog.h"

namespace lockstep {

/// Sends and receives "my long work goes on", an empty message, and "where are you?", one byte,
/// over a communicator (not owned), under a tag of their own.
class Pulse {
 public:
  static constexpr int kTag = 3;

  Pulse(MPI_Comm comm, Watchdog& watchdog, double seconds);
  ~Pulse();
  Pulse(const Pulse&) = delete;
  Pulse& operator=(const Pulse&) = delete;

  /// The deadline of waits that begin from now on, and of signs of life.
  void set_seconds(double seconds) { seconds_ = seconds; }
  double seconds() const { return seconds_; }

  /// Tells every other rank, but at most a few times within the deadline: by way of rank 0, which
  /// passes it on while it waits itself. While rank 0 works, the others hear of that.
  void publish();
  /// Tells every other rank now.
  void announce();
  /// Takes in what has arrived, and passes it on, on rank 0 to the others and everywhere to whoever
  /// has set on_sign(); true if a sign of life has.
  bool listen();
  /// Tells one rank alone, with which there is a connection then.
  void greet(int peer) { tell(peer); }
  /// Asks one rank. The answer is up to whoever has set that rank's on_question().
  void ask(int peer);
  void on_question(std::function<void(int asker)> answer) { answer_ = std::move(answer); }
  void on_sign(std::function<void()> heard) { heard_ = std::move(heard); }
  /// What this process does for the other ranks whenever it waits, whatever for. Must not wait.
  void while_waiting(std::function<void()> work) { work_ = std::move(work); }
  void work() const {
    if (work_) work_();
  }
  void feed_watchdog() noexcept { watchdog_.feed(); }

 private:
  void tell(int peer);
  bool take();

  MPI_Comm comm_;
  Watchdog& watchdog_;
  double seconds_;
  int rank_ = 0;
  std::vector<MPI_Request> sends_;  // one a rank; null where nothing is under way
  std::function<void(int asker)> answer_;
  std::function<void()> heard_;
  std::function<void()> work_;
  Stopwatch since_publication_;
  bool published_ = false;
};

/// One wait: call pause() between polls. The polling costs a core at first, then less and less.
class Patience {
 public:
  /// `margin` seconds are added to the deadline, if there is one.
  explicit Patience(Pulse& pulse, double margin = 0);
  /// Gives the core away for a moment that grows with the wait. False once the deadline has passed;
  /// time in which the process was suspended does not count.
  bool pause();
  double waited() const { return since_start_.seconds(); }

 private:
  Pulse& pulse_;
  Deadline deadline_;
  Stopwatch since_start_;
  double last_listened_ = 0;
  double last_pause_ = 0;
  std::int64_t sleep_ns_ = 0;
};

}  // namespace lockstep
