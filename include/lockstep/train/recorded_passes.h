// Forward and backward passes that a GPU replays instead of having them launched operator by
// operator.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>
#include <c10/core/Event.h>

#include <compare>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>

#include "lockstep/model/recording.h"
#include "lockstep/train/batch_reader.h"

namespace lockstep {

/// Runs passes over batches: the first of a shape as they are, since libraries set themselves up in
/// it, the second recorded, and all later ones by that recording, for up to eight shapes; those of
/// any more are always run as they are. No bit depends on which. Tensors that passes use beside
/// their input, and whatever else they refer to, must outlive this object, and stay where they are.
/// Not thread-safe; for the thread that has called prepare_compute_device.
class RecordedPasses {
 public:
  /// What the operators of a pass, and the numbers among their arguments, follow from. Passes of
  /// equal shape differ in the batch and in the epoch alone.
  struct Shape {
    std::int64_t samples = 0;
    std::int64_t samples_in_step = 0;
    bool first = false;  ///< of its step: counts what buffers count once a step
    auto operator<=>(const Shape&) const = default;  // NOLINT(modernize-use-nullptr)
  };
  /// A batch on the device.
  struct Input {
    SampleBatch batch;
    at::Tensor epoch;  ///< int64 [1]
  };
  /// Launches the operators, and waits for nothing. It is kept, and called again by a recorder that
  /// replays so.
  using Passes = std::function<void(const Input& input)>;

  /// Takes a little memory of the device. Without a recorder, nothing is to be run with it.
  RecordedPasses(Recorder recorder, at::Device device);
  /// Whether it has a recorder that has not failed.
  bool records() const { return recorder_ != nullptr; }

  /// Copies the batch to the device, and runs the passes over it, now or when the device is ready.
  /// The batch must stay as it is until wait_for_copies() has returned. Throws what the passes
  /// throw. Where recording fails, it warns, runs these passes as they are, and has no recorder
  /// from then on.
  void run(const Shape& shape, const SampleBatch& batch, std::uint32_t epoch, const Passes& passes);
  /// Until the device has the batch of the last run(): with what was queued before it done.
  void wait_for_copies();

 private:
  struct Recorded {
    Input input;  // where the recording reads it
    Passes passes;
    std::unique_ptr<Recording> recording;  // null before the second pass of this shape
  };
  Input copied(const SampleBatch& batch) const;
  bool record(Recorded& shape, const SampleBatch& batch);

  Recorder recorder_;
  at::Device device_;
  std::optional<c10::Event> is_copied_;  // the batch of the last run, where that is not known
  at::Tensor epoch_;
  std::int64_t epoch_value_ = -1;
  std::map<Shape, Recorded> shapes_;
};

}  // namespace lockstep
