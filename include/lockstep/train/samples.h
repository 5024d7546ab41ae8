// What a network is trained and judged on: samples of one shape, each with a target.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lockstep/data/augmentation.h"
#include "lockstep/data/dataset.h"

namespace lockstep {

/// One sample's tensor: its shape without the batch's dimension (empty: a scalar) and its type.
struct SampleTensor {
  std::vector<std::int64_t> shape;
  at::ScalarType type = at::kFloat;
  bool operator==(const SampleTensor&) const = default;
};

/// The training that reads, for sources that vary their samples (augmentation).
struct TrainingPass {
  std::uint64_t seed = 0;   ///< of the run
  std::uint32_t epoch = 0;  ///< from 0
};

/// Samples 0 .. size()-1. What it gives is a pure function of its arguments: every rank has a
/// source of its own, and all of them give the same bits. Read by one thread at a time; a batch
/// perhaps before the step before it has ended, more than once, or in vain where training stops.
class SampleSource {
 public:
  virtual ~SampleSource() = default;

  /// At least 1, below 2^32.
  virtual std::int64_t size() const = 0;
  virtual SampleTensor inputs() const = 0;
  virtual SampleTensor targets() const = 0;

  /// Writes inputs [B, shape...] and targets [B, shape...], B = samples.size(), which are
  /// contiguous and on the CPU; one that is undefined is not wanted. Without a `pass` samples are
  /// wanted as they are.
  virtual void read(std::span<const std::uint32_t> samples, std::optional<TrainingPass> pass,
                    const at::Tensor& inputs, const at::Tensor& targets) const = 0;

  /// 64 hexadecimal digits over all that read() depends on but augmentation: ranks compare it
  /// before they train, and a resume with the checkpoint's.
  virtual std::string sha256() const = 0;
  /// Where the samples come from, for messages.
  virtual std::string source() const = 0;
  /// The images that the inputs are made of, sample for sample, so that reports can show them;
  /// null: there are none.
  virtual const Dataset* images() const { return nullptr; }
};

/// Images with labels: inputs float32 [C,H,W] in [0,1], targets int64 scalars.
class ImageSamples : public SampleSource {
 public:
  /// `images` is not null. `augmentation` is applied to what a training reads.
  explicit ImageSamples(std::shared_ptr<const Dataset> images,
                        const AugmentationOptions& augmentation = {
                            .rotation = 0, .zoom = 0, .shift_x = 0, .shift_y = 0});

  std::int64_t size() const override { return images_->count; }
  SampleTensor inputs() const override;
  SampleTensor targets() const override { return {.shape = {}, .type = at::kLong}; }
  void read(std::span<const std::uint32_t> samples, std::optional<TrainingPass> pass,
            const at::Tensor& inputs, const at::Tensor& targets) const override;
  std::string sha256() const override { return sha256_; }
  std::string source() const override { return images_->source; }
  const Dataset* images() const override { return images_.get(); }

 private:
  std::shared_ptr<const Dataset> images_;
  AugmentationOptions augmentation_;
  std::string sha256_;
};

/// Two tensors of any type, whose first dimension counts the samples.
class TensorSamples : public SampleSource {
 public:
  /// Copies what is not contiguous and on the CPU. Throws Error{kBadData} naming `source` unless
  /// both have the same number of samples, at least 1.
  TensorSamples(const at::Tensor& inputs, const at::Tensor& targets, std::string source);

  std::int64_t size() const override { return inputs_.size(0); }
  SampleTensor inputs() const override { return sample_of(inputs_); }
  SampleTensor targets() const override { return sample_of(targets_); }
  void read(std::span<const std::uint32_t> samples, std::optional<TrainingPass> pass,
            const at::Tensor& inputs, const at::Tensor& targets) const override;
  std::string sha256() const override { return sha256_; }
  std::string source() const override { return source_; }

 private:
  static SampleTensor sample_of(const at::Tensor& all);

  at::Tensor inputs_, targets_;
  std::string source_, sha256_;
};

/// What its samples are called: "images" where there are some to be shown, else "samples".
inline const char* kind_of(const SampleSource& source) {
  return source.images() != nullptr ? "images" : "samples";
}

/// Uninitialised memory for `count` samples; `pinned`: from which a GPU copies fast.
at::Tensor empty_samples(const SampleTensor& sample, std::int64_t count, bool pinned = false);

}  // namespace lockstep
