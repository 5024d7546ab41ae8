// at::parallel_for is a template that runs on one thread wherever it is compiled without OpenMP;
// this file alone is compiled with it.
#include "lockstep/model/executor.h"

#include <ATen/Parallel.h>

#include <atomic>
#include <cfenv>
#include <exception>

namespace lockstep {

namespace {

// What the threads of one run share.
class Parts {
 public:
  Parts(std::int64_t count, const PartialTask& task) : count_(count), task_(task) {
    std::fegetenv(&environment_);
  }

  // One thread's share.
  void work() noexcept {
    std::fesetenv(&environment_);
    const int worker = entered_++;
    try {
      for (std::int64_t part = next_++; part < count_; part = next_++) task_(part, worker);
    } catch (...) {
      next_ = count_;
      if (!failed_.exchange(true)) failure_ = std::current_exception();
    }
  }

  void rethrow() const {
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  std::int64_t count_;
  const PartialTask& task_;
  std::fenv_t environment_{};
  std::atomic<std::int64_t> next_ = 0;
  std::atomic<int> entered_ = 0;
  std::atomic<bool> failed_ = false;
  std::exception_ptr failure_;
};

}  // namespace

int LibTorchExecutor::workers() const { return at::get_num_threads(); }

void LibTorchExecutor::run(std::int64_t count, const PartialTask& task) {
  const int threads = workers();
  Parts parts(count, task);
  [[maybe_unused]] const bool several = count > 1 && threads > 1 && !at::in_parallel_region();
  // Always as many as LibTorch's operators take: for another number libgomp would start threads
  // anew.
#pragma omp parallel num_threads(threads) if (several)
  parts.work();
  parts.rethrow();
}

}  // namespace lockstep
