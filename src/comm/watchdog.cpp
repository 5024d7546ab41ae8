#include "lockstep/comm/watchdog.h"

#include <fmt/core.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <mutex>
#include <string_view>
#include <thread>
#include <utility>

#include "comm/diagnosis.h"
#include "comm/ending.h"
#include "comm/process_state.h"
#include "comm/siblings.h"
#include "lockstep/base/clock.h"
#include "lockstep/base/error.h"
#include "lockstep/base/file.h"
#include "lockstep/comm/launcher.h"

namespace lockstep {

namespace {

// What is left of the second between mpirun's SIGTERM and its SIGKILL when messages are written.
constexpr double kFinishSeconds = 0.8;
constexpr int kFinishTick = 5;  // milliseconds

constexpr int kExitCode = static_cast<int>(ExitCode::kUnavailable);

void write_stderr(std::string_view text) noexcept {
  while (!text.empty()) {
    const ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
    if (written <= 0) return;
    text.remove_prefix(static_cast<std::size_t>(written));
  }
}

}  // namespace

struct Watchdog::State {
  std::mutex mutex;
  FileDescriptor wake_up{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  bool stop = false;
  double seconds = 0;
  Phase phase = Phase::kStartUp;
  LedgerIdentity identity;
  std::filesystem::path ledger;
  std::atomic<std::uint64_t> signs{0};
  std::atomic<std::int64_t> step{-1};
  std::atomic<bool> starts_mpi{false};
  pid_t launcher = 0;  // the parent process; 0: none that this process depends on
  // Readable when the launcher is gone; -1: the next tick finds out. Open MPI ends a process that
  // has lost its launcher, too, but without a word: this must be faster.
  FileDescriptor launcher_end;
  std::function<bool()> others_busy;
  std::thread thread;

  // Seconds without a sign of life after which it fires; 0: never.
  double limit() const noexcept {
    if (seconds <= 0) return 0;
    // Who waits for others to start lets them speak first.
    return seconds * 1.25 + (starts_mpi.load() && ledger.empty() ? 4 : 1);
  }
  void wake() const noexcept;
  void sleep(double seconds) const noexcept;
  void run();
  [[noreturn]] void fire(double quiet);
  [[noreturn]] void end_as_orphan();
  [[noreturn]] void end_by_signal(int signal);
  void tell_of_the_dead(const std::vector<LedgerReading>& readings) const;
  void wait_for_the_root_too(const std::vector<LedgerReading>& readings);
  void let_others_finish(double seconds) const noexcept;
};

void Watchdog::State::wake() const noexcept {
  const std::uint64_t one = 1;
  static_cast<void>(!::write(wake_up.get(), &one, sizeof(one)));
}

void Watchdog::State::sleep(double seconds) const noexcept {
  pollfd waiting[] = {{wake_up.get(), POLLIN, 0}, {launcher_end.get(), POLLIN, 0}};
  ::poll(waiting, 2, static_cast<int>(seconds * 1e3));
  std::uint64_t ignored = 0;
  static_cast<void>(!::read(wake_up.get(), &ignored, sizeof(ignored)));
}

void Watchdog::State::run() {
  std::unique_lock lock(mutex);
  std::uint64_t seen = signs.load(std::memory_order_relaxed);
  double quiet = 0;
  while (!stop) {
    const double tick = limit() > 0 ? std::clamp(limit() / 20, 0.01, 1.0) : 1.0;
    const Stopwatch slept;
    lock.unlock();
    sleep(tick);
    lock.lock();
    if (const int signal = pending_termination(); !stop && signal != 0) end_by_signal(signal);
    if (!stop && launcher != 0 && ::getppid() != launcher) end_as_orphan();
    const std::uint64_t now = signs.load(std::memory_order_relaxed);
    if (now != seen || seconds <= 0) {
      seen = now;
      quiet = 0;
      continue;
    }
    // A tick that took longer than asked means that this process did not run: others did not
    // either.
    quiet += std::min(slept.seconds(), 2 * tick);
    if (!stop && quiet >= limit()) fire(quiet);
  }
}

void Watchdog::State::end_as_orphan() {
  // Nobody forwards messages, collects exit codes or ends this rank any more.
  char line[256];
  const int length = std::snprintf(
      line, sizeof(line),
      "rank %d (%.64s): its launcher (process %d) is gone: ending with exit code %d\n",
      identity.rank, identity.host.c_str(), static_cast<int>(launcher), kExitCode);
  const std::string_view text{line, static_cast<std::size_t>(std::max(length, 1))};
  mark_end(ExitCode::kUnavailable, text.substr(0, text.size() - 1));
  write_stderr(text);
  let_others_finish(kFinishSeconds);
  ::_exit(kExitCode);
}

void Watchdog::State::end_by_signal(int signal) {
  const Stopwatch since_signal;
  try {
    std::vector<std::string> problems;
    std::vector<LedgerReading> readings;
    if (!ledger.empty()) readings = read_ledgers(ledger.parent_path(), problems, identity.job);
    tell_of_the_dead(readings);
    wait_for_the_root_too(readings);
  } catch (const std::exception&) {
    // The end matters more.
  }
  let_others_finish(kFinishSeconds - since_signal.seconds());
  die_of(signal);
}

// Where mpirun ends all ranks, it kills the rest at the first end, and rank 0 may have work to
// finish.
void Watchdog::State::wait_for_the_root_too(const std::vector<LedgerReading>& readings) {
  if (identity.rank == 0 || readings.empty()) return;
  const LedgerReading& root = readings.front();
  const auto own = std::ranges::find(
      readings, identity.rank, [](const LedgerReading& reading) { return reading.identity.rank; });
  const bool all_end = own != readings.end() && own->signal && own->signal->from_launcher;
  if (!all_end || root.identity.rank != 0 || !root.alive()) return;
  others_busy = [before = std::move(others_busy), pid = root.pid] {
    return (before && before()) || look_at_process(pid).state != ProcessState::kGone;
  };
}

// Mostly mpirun has ended the survivors of a rank that died without a word: the first of them on
// this host says so.
void Watchdog::State::tell_of_the_dead(const std::vector<LedgerReading>& readings) const {
  const Explanation explanation = examine(readings, unix_nanoseconds());
  std::string text;
  std::string dead;
  for (std::size_t i = 0; i < readings.size(); ++i) {
    const int rank = readings[i].identity.rank;
    const auto& suspects = explanation.suspects;
    const bool suspect = std::find(suspects.begin(), suspects.end(), rank) != suspects.end();
    if (suspect && !readings[i].exit_code) dead += "\n  " + explanation.lines[i];
    if (!suspect && text.empty()) {
      if (rank != identity.rank) return;
      text = explanation.lines[i];
    }
  }
  if (!dead.empty() && !text.empty()) write_stderr(text + dead + "\n");
}

void Watchdog::State::let_others_finish(double seconds) const noexcept {
  const Stopwatch waited;
  while (others_busy && others_busy() && waited.seconds() < seconds) {
    ::poll(nullptr, 0, kFinishTick);
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
  char of_step[32] = "";
  if (const std::int64_t now = step.load(); now >= 0) {
    std::snprintf(of_step, sizeof(of_step), " of step %lld", static_cast<long long>(now));
  }
  char line[512];
  const int length = std::snprintf(
      line, sizeof(line),
      "rank %d (%.64s): no sign of life for %.1f s in phase %.*s%s (deadline %.1f s): ending the "
      "job with exit code %d\n",
      rank, identity.host.c_str(), quiet, static_cast<int>(phase_name.size()), phase_name.data(),
      of_step, seconds, kExitCode);
  const std::string_view text{
      line, static_cast<std::size_t>(std::clamp<int>(length, 1, sizeof(line) - 1))};
  mark_end(ExitCode::kUnavailable, text.substr(0, text.size() - 1));
  write_stderr(text);
  if (!ledger.empty()) {
    const std::string details = diagnosis(ledger.parent_path(), identity.job);
    if (!details.empty()) {
      write_stderr(fmt::format("rank {}: the ledgers of this host:{}\n", rank, details));
    }
  } else if (starts_mpi.load()) {
    const std::string halted = halted_siblings();
    write_stderr(fmt::format("rank {}: MPI's start waits for a rank that has not come{}{}\n", rank,
                             halted.empty() ? "" : "; on this host ", halted));
  }
  ::_exit(kExitCode);
}

Watchdog::Watchdog(double seconds) : state_(std::make_unique<State>()) {
  state_->seconds = seconds;
  state_->identity.rank = launched_rank();
  if (state_->identity.rank >= 0) {
    state_->launcher = ::getppid();
    // A parent in this process's own group is a script that stands between, and gets the launcher's
    // signals as well: its end is not news before the signal has come.
    if (::getpgrp() == ::getpid()) {
      // glibc 2.36 declares pidfd_open without extern "C".
      state_->launcher_end =
          FileDescriptor(static_cast<int>(::syscall(SYS_pidfd_open, state_->launcher, 0)));
    }
  }
  char host[256] = "";
  ::gethostname(host, sizeof(host) - 1);
  state_->identity.host = host;
  // Signals are for the threads that know what to do with them.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  state_->thread = std::thread([state = state_.get()] { state->run(); });
  leave_termination_to(state_->wake_up.get());
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

Watchdog::~Watchdog() {
  leave_termination_to(-1);
  {
    const std::lock_guard lock(state_->mutex);
    state_->stop = true;
  }
  state_->wake();
  state_->thread.join();
  if (const int signal = pending_termination(); signal != 0) die_of(signal);
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
  state_->wake();
}

void Watchdog::starts_mpi() noexcept {
  feed();
  state_->starts_mpi.store(true);
}

void Watchdog::at_step(std::int64_t step) noexcept { state_->step.store(step); }

void Watchdog::let_finish(std::function<bool()> busy) {
  const std::lock_guard lock(state_->mutex);
  state_->others_busy = std::move(busy);
}

void Watchdog::feed() noexcept { state_->signs.fetch_add(1, std::memory_order_relaxed); }

}  // namespace lockstep
