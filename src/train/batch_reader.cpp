#include "lockstep/train/batch_reader.h"

#include <algorithm>
#include <utility>

namespace lockstep {

BatchReader::BatchReader(const SampleSource& source, const std::vector<std::uint32_t>& training,
                         const Sampler& order, std::uint64_t seed, bool pinned)
    : source_(source), training_(training), order_(order), seed_(seed), pinned_(pinned) {}

SampleBatch BatchReader::read(std::uint32_t epoch, Range positions) {
  const Ahead ahead = std::exchange(ahead_, {});
  if (ahead.epoch != epoch || ahead.positions != positions) {
    fill(epoch, positions);
  } else if (ahead.failure) {
    std::rethrow_exception(ahead.failure);
  }
  return first(positions.size());
}

void BatchReader::read_ahead(std::uint32_t epoch, Range positions) {
  ahead_ = {.epoch = epoch, .positions = positions};
  try {
    fill(epoch, positions);
  } catch (...) {
    ahead_.failure = std::current_exception();
  }
}

void BatchReader::fill(std::uint32_t epoch, Range positions) {
  order_.order(epoch, positions, samples_);
  for (std::uint32_t& sample : samples_) sample = training_[sample];
  const std::int64_t count = positions.size();
  if (!memory_.inputs.defined() || memory_.inputs.size(0) < count) {
    memory_ = {.inputs = empty_samples(source_.inputs(), count, pinned_),
               .targets = empty_samples(source_.targets(), count, pinned_),
               .keys = empty_samples({.shape = {}, .type = at::kLong}, count, pinned_)};
  }
  const SampleBatch batch = first(count);
  source_.read(samples_, TrainingPass{.seed = seed_, .epoch = epoch}, batch.inputs, batch.targets);
  std::copy(samples_.begin(), samples_.end(), batch.keys.mutable_data_ptr<std::int64_t>());
}

SampleBatch BatchReader::first(std::int64_t count) const {
  return {.inputs = memory_.inputs.narrow(0, 0, count),
          .targets = memory_.targets.narrow(0, 0, count),
          .keys = memory_.keys.narrow(0, 0, count)};
}

}  // namespace lockstep
