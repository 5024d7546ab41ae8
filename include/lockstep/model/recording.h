// Work of a GPU that is recorded once and replayed as one launch: a CUDA graph.
#pragma once

#include <functional>
#include <memory>

namespace lockstep {

/// Operators in the order in which they were launched. Not thread-safe.
class Recording {
 public:
  virtual ~Recording() = default;
  /// Launches them again, on the memory they had, in LibTorch's current stream, and does not wait.
  virtual void replay() = 0;
};

/// Records what `work` launches, backward passes too, and carries nothing out. `work` must launch
/// on LibTorch's current stream alone, and wait for nothing; tensors it makes and lets go of are
/// the recording's, all others must stay where they are.
using Recorder = std::function<std::unique_ptr<Recording>(const std::function<void()>& work)>;

/// The Recorder of a build with CUDA, for the thread that has called prepare_compute_device: on the
/// stream that it has chosen. Throws what `work` throws, c10::Error for what cannot be recorded (a
/// wait, want of memory, a second stream), and Error{kUsage} for numbers drawn from LibTorch's
/// generator and in a build without CUDA; the stream and LibTorch's memory are as they were, then.
std::unique_ptr<Recording> record_on_gpu(const std::function<void()>& work);

}  // namespace lockstep
