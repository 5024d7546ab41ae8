#include "comm/pulse.h"

#include <sched.h>
#include <time.h>

#include <algorithm>

#include "comm/mpi_support.h"

namespace lockstep {

namespace {

// A transfer of a few MB ends within kYieldSeconds, so that it never meets a sleep; a wait for a
// rank that computes is longer, and should leave the core to that rank.
constexpr double kSpinSeconds = 20e-6;
constexpr double kYieldSeconds = 2e-3;
constexpr std::int64_t kFirstSleepNs = 20'000;
constexpr std::int64_t kLongestSleepNs = 200'000;
constexpr double kListenEvery = 1e-3;
// Between two polls. A process that did not run for longer was suspended, and so, mostly, were
// those it waits for (SIGSTOP to all of a job, a scheduler's suspension, a laptop's lid).
constexpr double kLongestGap = 1.0;

// The rank that passes signs of life on.
constexpr int kRelay = 0;

// What a question consists of. Static, since it may leave after everything else is gone.
constexpr char kQuestion = '?';

}  // namespace

Pulse::Pulse(MPI_Comm comm, Watchdog& watchdog, double seconds)
    : comm_(comm), watchdog_(watchdog), seconds_(seconds) {
  int size = 1;
  check_mpi(MPI_Comm_rank(comm_, &rank_), "MPI_Comm_rank");
  check_mpi(MPI_Comm_size(comm_, &size), "MPI_Comm_size");
  sends_.assign(static_cast<std::size_t>(size), MPI_REQUEST_NULL);
}

Pulse::~Pulse() {
  if (!mpi_is_running()) return;
  for (MPI_Request& request : sends_) {
    // An empty message owns no memory, so MPI may finish it by itself.
    if (request != MPI_REQUEST_NULL) MPI_Request_free(&request);
  }
}

void Pulse::publish() {
  watchdog_.feed();
  const double interval = seconds_ > 0 ? std::min(1.0, seconds_ / 8) : 1.0;
  if (published_ && since_publication_.seconds() < interval) return;
  if (rank_ == kRelay) {
    announce();
  } else {
    // Each to all would be as many messages as the square of the ranks, and over a network as many
    // connections.
    published_ = true;
    since_publication_.lap();
    tell(kRelay);
  }
  // Who works and hardly waits would let the messages of the others pile up.
  take();
}

void Pulse::announce() {
  published_ = true;
  since_publication_.lap();
  for (int peer = 0; peer < static_cast<int>(sends_.size()); ++peer) {
    if (peer != rank_) tell(peer);
  }
}

void Pulse::tell(int peer) {
  MPI_Request& request = sends_[static_cast<std::size_t>(peer)];
  int done = 1;
  check_mpi(MPI_Test(&request, &done, MPI_STATUS_IGNORE), "MPI_Test");
  if (done == 0) return;  // the last one has not left yet: it says the same
  check_mpi(MPI_Isend(nullptr, 0, MPI_BYTE, peer, kTag, comm_, &request), "MPI_Isend");
}

void Pulse::ask(int peer) {
  MPI_Request request = MPI_REQUEST_NULL;
  check_mpi(MPI_Isend(&kQuestion, 1, MPI_BYTE, peer, kTag, comm_, &request), "MPI_Isend");
  // NOLINTNEXTLINE(clang-analyzer-optin.mpi.MPI-Checker): nobody waits for it.
  check_mpi(MPI_Request_free(&request), "MPI_Request_free");
}

bool Pulse::listen() {
  const bool heard = take();
  if (!heard) return false;
  if (rank_ == kRelay) publish();
  if (heard_) heard_();
  return true;
}

bool Pulse::take() {
  bool heard = false;
  for (;;) {
    int here = 0;
    MPI_Status status;
    check_mpi(MPI_Iprobe(MPI_ANY_SOURCE, kTag, comm_, &here, &status), "MPI_Iprobe");
    if (here == 0) return heard;
    char byte = 0;
    check_mpi(MPI_Recv(&byte, 1, MPI_BYTE, status.MPI_SOURCE, kTag, comm_, MPI_STATUS_IGNORE),
              "MPI_Recv");
    if (byte == kQuestion) {
      if (answer_) answer_(status.MPI_SOURCE);
      continue;
    }
    heard = true;
    watchdog_.feed();
  }
}

Patience::Patience(Pulse& pulse, double margin)
    : pulse_(pulse), deadline_(pulse.seconds() > 0 ? pulse.seconds() + margin : 0) {
  pulse_.feed_watchdog();
}

bool Patience::pause() {
  pulse_.work();
  const double waited = since_start_.seconds();
  if (const double gap = waited - last_pause_; gap > kLongestGap) deadline_.postpone(gap);
  last_pause_ = waited;
  if (waited < kSpinSeconds) return true;
  if (waited - last_listened_ >= kListenEvery) {
    last_listened_ = waited;
    if (pulse_.listen()) deadline_.extend();
  }
  if (deadline_.passed()) return false;
  if (waited < kYieldSeconds) {
    ::sched_yield();
    return true;
  }
  sleep_ns_ = std::clamp(sleep_ns_ + sleep_ns_ / 4, kFirstSleepNs, kLongestSleepNs);
  const timespec moment{0, sleep_ns_};
  ::nanosleep(&moment, nullptr);
  return true;
}

}  // namespace lockstep
