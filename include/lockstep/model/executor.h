// Independent parts of a computation in the threads that LibTorch's own operators use.
#pragma once

#include <cstdint>

#include "lockstep/kernels/executor.h"

namespace lockstep {

/// The calling thread and LibTorch's: as many as at::get_num_threads() says there. Whichever is
/// free takes the next part. All of them compute in the caller's floating-point environment
/// (rounding, denormals flushed). Of what parts throw, the first is thrown again once all threads
/// are done; parts that had not begun by then are not run. From within another parallel region
/// everything runs in the calling thread, as everywhere in a build whose compiler has no OpenMP.
class LibTorchExecutor final : public Executor {
 public:
  int workers() const override;
  void run(std::int64_t count, const PartialTask& task) override;
};

}  // namespace lockstep
