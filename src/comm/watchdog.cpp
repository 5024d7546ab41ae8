#include "lockstep/comm/watchdog.h"

#include <fmt/core.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <string_view>
#include <thread>

#include "comm/diagnosis.h"
#include "lockstep/base/clock.h"
#include "lockstep/base/error.h"

namespace lockstep {

namespace {

constexpr int kExitCode = static_cast<int>(ExitCode::kUnavailable);

void write_stderr(std::string_view text) noexcept {
  while (!text.empty()) {
    const ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
    if (written <= 0) return;
    text.remove_prefix(static_cast<std::size_t>(written));
  }
}

// Launchers tell the rank before MPI does.
int rank_from_environment() {
  for (const char* name : {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID"}) {
    if (const char* value = std::getenv(name)) return std::atoi(value);
  }
  return -1;
}

}  // namespace

struct Watchdog::State {
  std::mutex mutex;
  std::condition_variable stop_requested;
  bool stop = false;
  double seconds = 0;
  Phase phase = Phase::kStartUp;
  LedgerIdentity identity;
  std::filesystem::path ledger;
  std::atomic<std::uint64_t> signs{0};
  std::thread thread;

  void run();
  [[noreturn]] void fire(double quiet);
};

void Watchdog::State::run() {
  std::unique_lock lock(mutex);
  std::uint64_t seen = signs.load(std::memory_order_relaxed);
  double quiet = 0;
  while (!stop) {
    const double limit = seconds > 0 ? seconds * 1.25 + 1 : 0;
    const double tick = limit > 0 ? std::clamp(limit / 20, 0.01, 1.0) : 1.0;
    const Stopwatch slept;
    stop_requested.wait_for(lock, std::chrono::duration<double>(tick));
    const std::uint64_t now = signs.load(std::memory_order_relaxed);
    if (now != seen || seconds <= 0) {
      seen = now;
      quiet = 0;
      continue;
    }
    // A tick that took longer than asked means that this process did not run: others did not
    // either.
    quiet += std::min(slept.seconds(), 2 * tick);
    if (!stop && quiet >= seconds * 1.25 + 1) fire(quiet);
  }
}

void Watchdog::State::fire(double quiet) {
  // The rest of the process may hold any lock, so the essential line is written before anything
  // that allocates, and an alarm ends the process if the details hang.
  struct sigaction action {};
  action.sa_handler = [](int) { ::_exit(kExitCode); };
  ::sigaction(SIGALRM, &action, nullptr);
  sigset_t alarm_only;
  sigemptyset(&alarm_only);
  sigaddset(&alarm_only, SIGALRM);
  ::pthread_sigmask(SIG_UNBLOCK, &alarm_only, nullptr);
  ::alarm(3);
  const int rank = identity.rank;
  const std::string_view phase_name = name_of(phase);
  char line[512];
  const int length = std::snprintf(
      line, sizeof(line),
      "rank %d (%.64s): no sign of life for %.1f s in phase %.*s (deadline %.1f s): ending the job "
      "with exit code %d\n",
      rank, identity.host.c_str(), quiet, static_cast<int>(phase_name.size()), phase_name.data(),
      seconds, kExitCode);
  write_stderr({line, static_cast<std::size_t>(std::clamp<int>(length, 0, sizeof(line) - 1))});
  if (!ledger.empty()) {
    const std::string details = diagnosis(ledger.parent_path(), identity.job);
    if (!details.empty()) {
      write_stderr(fmt::format("rank {}: the ledgers of this host:{}\n", rank, details));
    }
  }
  ::_exit(kExitCode);
}

Watchdog::Watchdog(double seconds) : state_(std::make_unique<State>()) {
  state_->seconds = seconds;
  state_->identity.rank = rank_from_environment();
  char host[256] = "";
  ::gethostname(host, sizeof(host) - 1);
  state_->identity.host = host;
  // Signals are for the threads that know what to do with them.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  state_->thread = std::thread([state = state_.get()] { state->run(); });
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

Watchdog::~Watchdog() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->stop = true;
  }
  state_->stop_requested.notify_all();
  state_->thread.join();
}

void Watchdog::identify(const LedgerIdentity& identity, const std::filesystem::path& ledger) {
  const std::lock_guard lock(state_->mutex);
  state_->identity = identity;
  state_->ledger = ledger;
}

void Watchdog::enter_phase(Phase phase, double seconds) {
  {
    const std::lock_guard lock(state_->mutex);
    state_->phase = phase;
    state_->seconds = seconds;
  }
  feed();
  state_->stop_requested.notify_all();
}

void Watchdog::feed() noexcept { state_->signs.fetch_add(1, std::memory_order_relaxed); }

}  // namespace lockstep
