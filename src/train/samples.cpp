#include "lockstep/train/samples.h"

#include <ATen/ops/empty.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "lockstep/base/cast.h"
#include "lockstep/base/error.h"
#include "lockstep/base/hash.h"
#include "lockstep/data/batch.h"
#include "lockstep/data/sampler.h"
#include "lockstep/model/executor.h"

namespace lockstep {

namespace {

// What a thread makes at a time: for less, waking it would take longer than it saves.
constexpr std::size_t kPixelsOfAPart = std::size_t{8} * 28 * 28;

std::span<const std::byte> bytes_of(const at::Tensor& tensor) {
  return {static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes()};
}

// The rows of `all` that are asked for.
void copy_rows(const at::Tensor& all, std::span<const std::uint32_t> samples,
               const at::Tensor& out) {
  const auto count = checked_cast<std::size_t>(all.size(0));
  const std::size_t row = all.nbytes() / count;
  LOCKSTEP_CHECK(out.nbytes() == row * samples.size() && out.is_contiguous(),
                 "{} bytes for {} samples of {}", out.nbytes(), samples.size(), row);
  const auto* from = static_cast<const std::byte*>(all.const_data_ptr());
  auto* to = static_cast<std::byte*>(out.mutable_data_ptr());
  for (const std::uint32_t sample : samples) {
    LOCKSTEP_CHECK(sample < count, "sample {} of {}", sample, count);
    std::memcpy(to, from + sample * row, row);
    to += row;
  }
}

}  // namespace

ImageSamples::ImageSamples(std::shared_ptr<const Dataset> images,
                           const AugmentationOptions& augmentation)
    : images_(std::move(images)), augmentation_(augmentation), sha256_(images_->sha256()) {}

SampleTensor ImageSamples::inputs() const {
  return {.shape = {images_->channels, images_->height, images_->width}, .type = at::kFloat};
}

void ImageSamples::read(std::span<const std::uint32_t> samples, std::optional<TrainingPass> pass,
                        const at::Tensor& inputs, const at::Tensor& targets) const {
  if (!inputs.defined()) {
    auto* label = targets.mutable_data_ptr<std::int64_t>();
    for (const std::uint32_t sample : samples) *label++ = images_->labels.at(sample);
    return;
  }
  const TrainingPass used = pass.value_or(TrainingPass{});
  const BatchMaker maker(*images_, augmentation_, used.seed);
  auto* images = inputs.mutable_data_ptr<float>();
  auto* labels = targets.defined() ? targets.mutable_data_ptr<std::int64_t>() : nullptr;
  const auto size = checked_cast<std::size_t>(images_->image_size());
  const auto count = checked_cast<std::int64_t>(samples.size());
  const auto images_of_a_part =
      checked_cast<std::int64_t>(std::max<std::size_t>(1, kPixelsOfAPart / size));
  // An image's bits depend on no other's, so neither on which thread makes it.
  const auto fill = [&](std::int64_t part, int) {
    const Range own = chunk_at(part, images_of_a_part, count);
    const auto first = checked_cast<std::size_t>(own.begin);
    maker.fill(samples.subspan(first, checked_cast<std::size_t>(own.size())), used.epoch,
               /*augment=*/pass.has_value(), images + first * size,
               labels != nullptr ? labels + first : nullptr);
  };
  LibTorchExecutor().run(chunk_count(count, images_of_a_part), PartialTask(fill));
}

TensorSamples::TensorSamples(const at::Tensor& inputs, const at::Tensor& targets,
                             std::string source)
    : inputs_(inputs.detach().cpu().contiguous()),
      targets_(targets.detach().cpu().contiguous()),
      source_(std::move(source)) {
  if (inputs_.dim() < 1 || targets_.dim() < 1 || inputs_.size(0) != targets_.size(0) ||
      inputs_.size(0) < 1) {
    fail(ExitCode::kBadData,
         "{}: inputs [{}] and targets [{}]: their first dimensions must be the number of samples, "
         "at least 1",
         source_, fmt::join(inputs_.sizes(), ","), fmt::join(targets_.sizes(), ","));
  }
  Sha256 hash;
  for (const at::Tensor& tensor : {inputs_, targets_}) {
    hash.update(fmt::format("lockstep tensor {} {}\n", at::toString(tensor.scalar_type()),
                            fmt::join(tensor.sizes(), " ")));
    hash.update(bytes_of(tensor));
  }
  sha256_ = to_hex(hash.finish());
}

SampleTensor TensorSamples::sample_of(const at::Tensor& all) {
  return {.shape = all.sizes().slice(1).vec(), .type = all.scalar_type()};
}

void TensorSamples::read(std::span<const std::uint32_t> samples, std::optional<TrainingPass>,
                         const at::Tensor& inputs, const at::Tensor& targets) const {
  if (inputs.defined()) copy_rows(inputs_, samples, inputs);
  if (targets.defined()) copy_rows(targets_, samples, targets);
}

at::Tensor empty_samples(const SampleTensor& sample, std::int64_t count, bool pinned) {
  std::vector<std::int64_t> shape{count};
  shape.insert(shape.end(), sample.shape.begin(), sample.shape.end());
  return at::empty(shape, at::TensorOptions(sample.type).pinned_memory(pinned));
}

}  // namespace lockstep
