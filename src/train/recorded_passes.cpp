#include "lockstep/train/recorded_passes.h"

#include <ATen/ops/empty.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <exception>
#include <utility>

#include "lockstep/base/log.h"

namespace lockstep {

namespace {

// Full batches and the last one of an epoch, each as shards of two sizes, and each of those first
// or not: any more come from a setting that makes no step fast.
constexpr std::size_t kMostShapes = 8;

}  // namespace

RecordedPasses::RecordedPasses(Recorder recorder, at::Device device)
    : recorder_(std::move(recorder)),
      device_(device),
      epoch_(at::empty({1}, at::TensorOptions(at::kLong).device(device))) {}

RecordedPasses::Input RecordedPasses::copied(const SampleBatch& batch) const {
  // Also on a CPU: the batch's memory is used again.
  const auto copy = [this](const at::Tensor& from) {
    return from.to(device_, from.scalar_type(), /*non_blocking=*/false, /*copy=*/true);
  };
  return {.batch = {.inputs = copy(batch.inputs),
                    .targets = copy(batch.targets),
                    .keys = copy(batch.keys)},
          .epoch = epoch_};
}

void RecordedPasses::run(const Shape& shape, const SampleBatch& batch, std::uint32_t epoch,
                         const Passes& passes) {
  if (epoch_value_ != epoch) {
    epoch_.fill_(std::int64_t{epoch});
    epoch_value_ = epoch;
  }
  const auto known = shapes_.find(shape);
  if (known == shapes_.end()) {
    if (shapes_.size() < kMostShapes) shapes_[shape].passes = passes;
    return passes(copied(batch));
  }
  Recorded& recorded = known->second;
  if (!recorded.recording && !record(recorded, batch)) return passes(copied(batch));
  const auto copy = [](const at::Tensor& to, const at::Tensor& from) {
    to.copy_(from, /*non_blocking=*/true);
  };
  copy(recorded.input.batch.inputs, batch.inputs);
  copy(recorded.input.batch.targets, batch.targets);
  copy(recorded.input.batch.keys, batch.keys);
  if (device_.is_cuda()) {
    is_copied_.emplace(device_.type());
    is_copied_->record(c10::impl::VirtualGuardImpl(device_.type()).getStream(device_));
  }
  recorded.recording->replay();
}

void RecordedPasses::wait_for_copies() {
  if (is_copied_) is_copied_->synchronize();
  is_copied_.reset();
}

bool RecordedPasses::record(Recorded& shape, const SampleBatch& batch) {
  try {
    shape.input = copied(batch);
    shape.recording = recorder_([&shape] { shape.passes(shape.input); });
    return true;
  } catch (const std::exception& error) {
    log_warning(
        "steps are launched operator by operator, as with --cuda-graphs false, since recording one "
        "failed: {}",
        error.what());
    shapes_.clear();
    recorder_ = nullptr;
    return false;
  }
}

}  // namespace lockstep
