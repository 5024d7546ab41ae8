// The parts of Trainer that look for what must not be: gradients or weights that are not finite,
// replicas that differ.
#include <ATen/core/Tensor.h>
#include <ATen/ops/tensor.h>
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <span>

#include "checkpoint_files.h"
#include "lockstep/base/cast.h"
#include "lockstep/base/error.h"
#include "lockstep/base/hash.h"
#include "lockstep/base/log.h"
#include "lockstep/base/text.h"
#include "lockstep/comm/together.h"
#include "lockstep/train/trainer.h"

namespace lockstep {

namespace {

/// The first value of a gradient, in the order of the network's tensors, that is not finite.
struct NonFinite {
  std::int64_t view = -1;  // of FlatParameters::views(); -1: all are finite
  std::int64_t element = 0;
  float value = 0;
  std::int64_t count = 0;  // how many are not finite
};

NonFinite find_non_finite(const FlatParameters& parameters) {
  NonFinite found;
  const at::Tensor host = parameters.gradients().cpu();
  const auto& views = parameters.views();
  // Views lie in reverse order of registration.
  for (std::int64_t v = checked_cast<std::int64_t>(views.size()) - 1; v >= 0; --v) {
    const FlatParameters::View& view = views[checked_cast<std::size_t>(v)];
    const float* first = host.const_data_ptr<float>() + view.offset;
    for (std::int64_t i = 0; i < view.count; ++i) {
      if (std::isfinite(first[i])) continue;
      if (found.view < 0) found = {v, i, first[i], 0};
      ++found.count;
    }
  }
  return found;
}

std::string describe(const NonFinite& found, const FlatParameters& parameters) {
  if (found.view < 0) {
    const bool in_words = !parameters.control_words().isfinite().all().item<bool>();
    return in_words ? "the loss or its metric" : "a buffer that the network changes";
  }
  const FlatParameters::View& view = parameters.views()[checked_cast<std::size_t>(found.view)];
  return fmt::format(
      "{}[{}] = {}{}", view.name, found.element, found.value,
      found.count == 1 ? "" : fmt::format(" and {} more values", format_count(found.count - 1)));
}

}  // namespace

bool Trainer::is_finite(const at::Tensor& flat) const {
  const auto n = checked_cast<std::size_t>(flat.numel());
  const auto* first = flat.const_data_ptr<float>();
  return device_.is_cuda() ? all_finite_on_device(first, n, device_.stream) : all_finite(first, n);
}

// All that a checkpoint holds and the root alone writes down: what differs elsewhere would be lost,
// and what differs on the root would be every rank's after a resume.
std::vector<Replica> Trainer::replicas() {
  std::vector<Replica> all{{"weights", "", parameters_.weights()}};
  if (average_) all.push_back({"averaged weights", "ema.", *average_});
  if (const ModuleBuffers& buffers = parameters_.buffers(); !buffers.empty()) {
    all.push_back({"buffers", "", buffers.values(), &buffers.views()});
  }
  for (const Optimizer::State& state : optimizer_->state()) {
    all.push_back(
        {"optimizer state", state.prefix + ".", state_tensor(state, parameters_.weights())});
  }
  return all;
}

void Trainer::require_equal_replicas(const std::string& moment) {
  if (checked_step_ == state_.cursor.global_step) return;
  check_replicas(world_, parameters_.views(), replicas(), moment);
  checked_step_ = state_.cursor.global_step;
}

void Trainer::require_finite_weights(const std::string& moment) {
  if (is_finite(parameters_.weights())) return;
  fail_together(
      world_, ExitCode::kDiverged,
      fmt::format("{}: the weights are not finite; a smaller --learning-rate may help", moment));
}

// The gradient of this rank alone is gone: it was reduced in place. Computing it again, which gives
// the same bits, costs a step where looking at it beforehand would cost every step.
std::vector<int> Trainer::ranks_of_non_finite() {
  const Range batch = batch_of(state_.cursor.step_in_epoch);
  char finite = 1;  // a vector of bool has no elements to copy into
  for (int local = 0; local < reducer_.local_shards(); ++local) {
    const int shard = reducer_.first_shard() + local;
    const Range positions = shard_of(batch, shard, reducer_.total_shards());
    reducer_.begin_local();
    compute_shard(positions, batch.size(), shard);
    if (!is_finite(reducer_.as_sent())) finite = 0;
    world_.publish_progress();
  }
  const auto all = world_.all_gather_value(finite);
  std::vector<int> ranks;
  for (int rank = 0; rank < world_.size(); ++rank) {
    if (all[checked_cast<std::size_t>(rank)] == 0) ranks.push_back(rank);
  }
  return ranks;
}

// Every rank concludes from what it has received itself. What was damaged on its way to one rank
// would part their ways, and end as a time-out that names nobody's fault: so they compare.
void Trainer::require_same_conclusion(std::int64_t step, bool finite,
                                      std::span<const float> control) {
  if (world_.size() == 1) return;
  struct Conclusion {
    std::int64_t digest = 0;
    std::int32_t finite = 0;
    std::int32_t padding = 0;
  };
  const std::byte flag{finite};
  // Of two numbers that are none a processor's sum takes the first: which one that is depends on
  // the rank.
  std::array<float, FlatParameters::kControlWords> words{};
  std::ranges::transform(control, words.begin(),
                         [](float word) { return std::isnan(word) ? std::nanf("") : word; });
  const Sha256Digest digest =
      Sha256().update(std::as_bytes(std::span(words))).update(std::span(&flag, 1)).finish();
  Conclusion own{.finite = finite ? 1 : 0};
  std::memcpy(&own.digest, digest.data(), sizeof(own.digest));
  own.digest &= std::numeric_limits<std::int64_t>::max();
  // The largest of both signs: equal everywhere if the two are.
  conclusion_.copy_(at::tensor({own.digest, -own.digest}, at::kLong));
  collectives_
      ->all_reduce({.data = conclusion_.mutable_data_ptr(), .count = 2, .type = DataType::kInt64},
                   ReduceOp::kMax, {.name = "conclusion", .step = step + 1})
      ->wait();
  if (collectives_->on_device()) collectives_->synchronize();
  const at::Tensor largest = conclusion_.cpu();
  if (largest.const_data_ptr<std::int64_t>()[0] == -largest.const_data_ptr<std::int64_t>()[1])
    return;

  const std::vector<Conclusion> all = world_.all_gather_value(own);
  const auto votes = [&](std::int64_t digest_of) {
    return std::ranges::count(all, digest_of, &Conclusion::digest);
  };
  const Conclusion& usual =
      *std::ranges::max_element(all, {}, [&](const Conclusion& one) { return votes(one.digest); });
  std::vector<int> odd;
  std::vector<int> others;
  for (int rank = 0; rank < world_.size(); ++rank) {
    const bool is_odd = all[checked_cast<std::size_t>(rank)].digest != usual.digest;
    (is_odd ? odd : others).push_back(rank);
  }
  if (odd.empty()) {
    fail_together(
        world_, ExitCode::kDiverged,
        fmt::format("step {}: all ranks received the same gradient, and the comparison of "
                    "what they received was damaged itself; the weights are those of "
                    "step {}",
                    step + 1, step));
  }
  const bool odd_is_finite = all[checked_cast<std::size_t>(odd.front())].finite != 0;
  const bool majority = 2 * votes(usual.digest) > world_.size();
  fail_together(
      world_, ExitCode::kDiverged,
      fmt::format("step {}: {} received another reduced gradient than {}{}: {}; the weights are "
                  "those of step {}",
                  step + 1, world_.name_ranks(odd),
                  majority ? "the other ranks" : world_.name_ranks(others),
                  majority ? "" : " (no majority: which is right is not known)",
                  odd_is_finite == (usual.finite != 0) ? "its loss or votes differ"
                  : odd_is_finite                      ? "it is finite, theirs is not"
                                                       : "it is not finite, theirs is",
                  step));
}

void Trainer::skip_or_stop(std::int64_t step) {
  const NonFinite found = find_non_finite(parameters_);
  const std::string place = describe(found, parameters_);  // before its words are used again
  const std::vector<int> ranks = ranks_of_non_finite();
  const std::string what =
      fmt::format("step {}: the reduced gradient is not finite: {}, from {}", step + 1, place,
                  ranks.empty() ? "no single rank: their sum overflows" : world_.name_ranks(ranks));
  if (config_.train.on_non_finite == "stop") {
    const bool narrow = config_.train.reduce_dtype == "float16";
    const char* wider = narrow ? "so may --reduce-dtype bfloat16 where 65504 is exceeded, " : "";
    fail_together(world_, ExitCode::kDiverged,
                  fmt::format("{}; the weights are those of step {}; a smaller --learning-rate may "
                              "help, {}--on-non-finite skip leaves such a step out",
                              what, step, wider));
  }
  ++state_.skipped_steps;
  if (world_.is_root()) log_warning("{}; its update is left out", what);
  record([&] {
    const auto& views = parameters_.views();
    records_->write_skip(state_.cursor.epoch + 1, step + 1,
                         found.view < 0 ? "" : views[checked_cast<std::size_t>(found.view)].name,
                         ranks);
  });
}

}  // namespace lockstep
