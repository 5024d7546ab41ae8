#include "lockstep/train/evaluation.h"

#include <ATen/core/grad_mode.h>

#include <numeric>
#include <utility>

#include "lockstep/base/cast.h"
#include "lockstep/base/error.h"
#include "lockstep/data/sampler.h"

namespace lockstep {

Evaluator::Evaluator(World& world, const ComputeDevice& device, Model model, std::int64_t chunk,
                     bool root_only)
    : world_(world),
      device_(device),
      model_(std::move(model)),
      chunk_(chunk),
      root_only_(root_only) {
  LOCKSTEP_CHECK(chunk >= 1, "an evaluation batch of {}", chunk);
}

std::vector<float> Evaluator::chunk_rows(const SampleSource& source, const Objective& objective,
                                         std::span<const std::uint32_t> samples) {
  const auto count = checked_cast<std::int64_t>(samples.size());
  const at::Tensor inputs = empty_samples(source.inputs(), count);
  const at::Tensor targets = empty_samples(source.targets(), count);
  source.read(samples, std::nullopt, inputs, targets);
  const at::Tensor outputs = model_.forward(inputs.to(device_.device), StepContext{});
  const at::Tensor rows =
      objective.evaluation_rows(outputs, targets.to(device_.device)).to(at::kCPU).contiguous();
  if (rows.dim() != 2 || rows.size(0) != count || rows.scalar_type() != at::kFloat) {
    fail(ExitCode::kUsage, "the objective gives {} values for {} samples: expected float32 rows",
         rows.numel(), count);
  }
  const float* first = rows.const_data_ptr<float>();
  return {first, first + rows.numel()};
}

std::vector<float> Evaluator::rows(const SampleSource& source, const Objective& objective,
                                   std::span<const std::uint32_t> samples,
                                   const std::function<void()>& before_chunk) {
  const at::NoGradGuard no_grad;
  model_.module()->eval();
  const auto total = checked_cast<std::int64_t>(samples.size());
  const Range chunks{0, chunk_count(total, chunk_)};
  Range mine = shard_of(chunks, world_.rank(), world_.size());
  if (root_only_) mine = world_.is_root() ? chunks : Range{};
  std::vector<float> own;
  for (std::int64_t chunk = mine.begin; chunk < mine.end; ++chunk) {
    if (before_chunk) before_chunk();
    const Range range = chunk_at(chunk, chunk_, total);
    const auto part = chunk_rows(source, objective,
                                 samples.subspan(checked_cast<std::size_t>(range.begin),
                                                 checked_cast<std::size_t>(range.size())));
    own.insert(own.end(), part.begin(), part.end());
    world_.publish_progress();
  }
  model_.module()->train();
  if (root_only_) return own;
  return world_.gather_values<float>(own);
}

at::Tensor targets_at(const SampleSource& source, std::span<const std::uint32_t> samples) {
  at::Tensor targets = empty_samples(source.targets(), checked_cast<std::int64_t>(samples.size()));
  source.read(samples, std::nullopt, {}, targets);
  return targets;
}

std::vector<std::int64_t> class_counts(const SampleSource& source,
                                       std::span<const std::uint32_t> samples,
                                       std::int64_t classes) {
  const at::Tensor targets = targets_at(source, samples);
  std::vector<std::int64_t> counts(checked_cast<std::size_t>(classes));
  const auto* label = targets.const_data_ptr<std::int64_t>();
  for (std::size_t i = 0; i < samples.size(); ++i) ++counts.at(checked_cast<std::size_t>(label[i]));
  return counts;
}

std::vector<std::uint32_t> all_indices(std::int64_t count) {
  std::vector<std::uint32_t> indices(checked_cast<std::size_t>(count));
  std::iota(indices.begin(), indices.end(), 0u);
  return indices;
}

}  // namespace lockstep
