#include "lockstep/checkpoint/writer.h"

#include <signal.h>

#include <chrono>
#include <utility>

#include "lockstep/base/clock.h"
#include "lockstep/base/log.h"

namespace lockstep {

namespace {

// How often whoever waits looks for progress: a small part of any sensible deadline.
constexpr std::chrono::milliseconds kTick{20};

// Signals are for the threads that know what to do with them, but for those that a thread itself
// would cause: from its first instruction on, so its maker blocks them meanwhile.
template <class Function>
std::thread thread_without_signals(Function function) {
  sigset_t others, before;
  sigfillset(&others);
  for (const int own : {SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP}) {
    sigdelset(&others, own);
  }
  ::pthread_sigmask(SIG_BLOCK, &others, &before);
  try {
    std::thread thread(std::move(function));
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return thread;
  } catch (...) {
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    throw;
  }
}

}  // namespace

CheckpointWriter::CheckpointWriter(CheckpointStore& store)
    : store_(store), thread_(thread_without_signals([this] { run(); })) {}

CheckpointWriter::~CheckpointWriter() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  thread_.join();
  if (error_) log_warning("{}", error_->what());
}

std::vector<CheckpointFile>& CheckpointWriter::files() {
  const std::lock_guard lock(mutex_);
  LOCKSTEP_CHECK(!busy_, "the files of a checkpoint that is being written");
  return files_;
}

void CheckpointWriter::start(Save save) {
  {
    const std::lock_guard lock(mutex_);
    LOCKSTEP_CHECK(!busy_ && !error_, "a checkpoint before the last one was waited for");
    save_ = std::move(save);
    last_sign_.store(clock_.seconds(), std::memory_order_relaxed);
    busy_ = true;
  }
  changed_.notify_all();
}

double CheckpointWriter::silent_seconds() const {
  const std::lock_guard lock(mutex_);
  return busy_ ? clock_.seconds() - last_sign_.load(std::memory_order_relaxed) : 0;
}

void CheckpointWriter::wait(const std::function<void()>& progress) {
  std::unique_lock lock(mutex_);
  double seen = last_sign_.load(std::memory_order_relaxed);
  while (busy_) {
    changed_.wait_for(lock, kTick, [this] { return !busy_; });
    const double now = last_sign_.load(std::memory_order_relaxed);
    if (!progress || now == seen) continue;
    seen = now;
    lock.unlock();
    progress();
    lock.lock();
  }
  if (!error_) return;
  const Error error = *std::exchange(error_, std::nullopt);
  failed_.store(false, std::memory_order_release);
  throw error;
}

void CheckpointWriter::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return busy_ || stop_; });
    if (!busy_) return;
    lock.unlock();
    std::optional<Error> error = carry_out();
    lock.lock();
    error_ = std::move(error);
    failed_.store(error_.has_value(), std::memory_order_release);
    busy_ = false;
    changed_.notify_all();
  }
}

std::optional<Error> CheckpointWriter::carry_out() {
  const Stopwatch watch;
  try {
    if (save_.before) save_.before();
    store_.save(save_.global_step, files_, save_.best, [this] {
      last_sign_.store(clock_.seconds(), std::memory_order_relaxed);
      if (save_.progress) save_.progress();
    });
    if (save_.after) save_.after();
  } catch (...) {
    return caught_error();
  }
  log_debug("the checkpoint of step {} was written in {:.1f} ms", save_.global_step,
            1e3 * watch.seconds());
  return std::nullopt;
}

}  // namespace lockstep
