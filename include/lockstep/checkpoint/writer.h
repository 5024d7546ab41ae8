// Saves checkpoints in a thread of its own, so that whoever trains does not wait for the disk.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "lockstep/base/clock.h"
#include "lockstep/base/error.h"
#include "lockstep/checkpoint/store.h"

namespace lockstep {

/// One thread, which saves one checkpoint at a time. All members but busy() are for one other
/// thread, the owner's. From start() until wait() has returned the store is the writer's alone.
class CheckpointWriter {
 public:
  /// What to save besides files(). The functions are called in the writer's thread.
  struct Save {
    std::int64_t global_step = 0;
    std::optional<std::int64_t> best = {};  ///< see CheckpointStore::save
    /// Makes durable what has to be so before the checkpoint; may throw.
    std::function<void()> before = {};
    std::function<void()> progress = {};  ///< see CheckpointStore::save
    /// Once the checkpoint is durable: what it throws is thrown by wait(), and the checkpoint
    /// stays.
    std::function<void()> after = {};
  };

  /// Starts the thread. The store must outlive the writer.
  explicit CheckpointWriter(CheckpointStore& store);
  /// Waits for the save under way, if any. A failure that wait() has not thrown is a warning.
  ~CheckpointWriter();
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;

  /// The files of the next save, for the owner to fill in: those of the last one, so that their
  /// memory can be used again. Not while a save is under way (Error{kInternal}).
  std::vector<CheckpointFile>& files();

  /// Begins to save files() and returns at once. Not while a save is under way (Error{kInternal}).
  void start(Save save);

  /// A save is under way. Thread-safe.
  bool busy() const noexcept { return busy_.load(std::memory_order_acquire); }

  /// A save has failed, and wait() will throw why, at once.
  bool failed() const noexcept { return failed_.load(std::memory_order_acquire); }

  /// How long the save under way has given no sign of progress, in seconds; 0 without one.
  double silent_seconds() const;

  /// Until no save is under way: what was handed over is durable then. `progress` is called now and
  /// then, but only while the save goes on: not while one of its steps hangs; it may throw, and the
  /// save goes on. Throws, once, what the save has thrown: an Error with its code and message, all
  /// else as caught_error() makes it.
  void wait(const std::function<void()>& progress = {});

 private:
  void run();
  std::optional<Error> carry_out();

  CheckpointStore& store_;
  std::vector<CheckpointFile> files_;  // the thread's while busy_
  Save save_;                          // likewise
  mutable std::mutex mutex_;           // of what follows
  std::condition_variable changed_;
  std::atomic<bool> busy_{false};  // set under the mutex, too
  bool stop_ = false;
  std::optional<Error> error_;
  std::atomic<bool> failed_{false};   // error_ is set
  std::atomic<double> last_sign_{0};  // of progress, in seconds of clock_
  Stopwatch clock_;
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace lockstep
