#include "lockstep/sync/gradient_reducer.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/utils/lambda_post_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <bit>
#include <cmath>
#include <optional>

#include "lockstep/base/cast.h"
#include "lockstep/base/error.h"
#include "lockstep/model/gradient_owner.h"

namespace lockstep {

// The gradient accumulators must be kept alive, or autograd would make new ones without our hooks;
// and their hooks may outlive the reducer, so they look here whether it still exists.
struct GradientReducer::Hooks {
  GradientReducer* reducer = nullptr;
  std::vector<std::shared_ptr<torch::autograd::Node>> accumulators;
};

// A parameter's first gradient of a pass is copied to where it belongs, or written there by its
// operator: autograd would add it to zeros, which takes three more passes over the memory.
class GradientReducer::FirstGradient final : public GradientOwner {
 public:
  FirstGradient(std::weak_ptr<Hooks> hooks, std::size_t parameter)
      : hooks_(std::move(hooks)), parameter_(parameter) {}

  bool is_in_use() const { return !hooks_.expired(); }
  at::Tensor claim() override {
    const auto alive = hooks_.lock();
    return alive ? alive->reducer->claim(parameter_) : at::Tensor();
  }
  torch::autograd::variable_list operator()(
      const torch::autograd::variable_list& gradients) override {
    const auto alive = hooks_.lock();
    return alive ? alive->reducer->take_gradient(parameter_, gradients) : gradients;
  }

 private:
  std::weak_ptr<Hooks> hooks_;
  std::size_t parameter_;
};

namespace {

// Nothing for float32.
std::optional<at::ScalarType> rounded_type(DataType type) {
  if (type == DataType::kFloat16) return at::kHalf;
  if (type == DataType::kBfloat16) return at::kBFloat16;
  LOCKSTEP_CHECK(type == DataType::kFloat32, "gradients travel as floating point");
  return std::nullopt;
}

Buffer buffer_of(const at::Tensor& tensor) {
  const at::ScalarType type = tensor.scalar_type();
  return {.data = tensor.mutable_data_ptr(),
          .count = checked_cast<std::size_t>(tensor.numel()),
          .type = type == at::kHalf       ? DataType::kFloat16
                  : type == at::kBFloat16 ? DataType::kBfloat16
                                          : DataType::kFloat32};
}

}  // namespace

DataType reduce_type_of(const std::string& name) {
  if (name == "float32") return DataType::kFloat32;
  if (name == "bfloat16") return DataType::kBfloat16;
  if (name == "float16") return DataType::kFloat16;
  fail(ExitCode::kUsage, "--reduce-dtype {}: expected float32, bfloat16 or float16", name);
}

GradientReducer::GradientReducer(World& world, Collectives& collectives, FlatParameters& parameters,
                                 const ReducerOptions& options)
    : world_(world),
      collectives_(collectives),
      parameters_(parameters),
      total_shards_(world.size()),
      first_shard_(world.rank()),
      rounded_(rounded_type(options.reduce_type)),
      hooks_(std::make_shared<Hooks>()) {
  if (options.virtual_ranks > 0) {
    const auto shards = static_cast<unsigned>(options.virtual_ranks);
    const auto ranks = static_cast<unsigned>(world.size());
    if (!std::has_single_bit(shards) || !std::has_single_bit(ranks) || ranks > shards) {
      fail(ExitCode::kUsage,
           "--virtual-ranks {} with {} ranks: both must be powers of two, and the ranks no more "
           "than "
           "the virtual ranks",
           shards, ranks);
    }
    tree_ = true;
    total_shards_ = options.virtual_ranks;
    local_shards_ = total_shards_ / world.size();
    first_shard_ = world.rank() * local_shards_;
    for (int level = 1; level < local_shards_; level *= 2) {
      subtree_sums_.push_back(at::empty_like(parameters_.gradients()));
    }
  }
  if (world.size() == 1 && !tree_) rounded_.reset();  // nothing is summed
  if (world.size() > 1) {
    const at::Tensor& gradients = parameters_.gradients();
    const std::int64_t packed = rounded_ ? parameters_.size() : 0;
    if (rounded_) packed_ = at::empty({packed}, gradients.options().dtype(rounded_));
    if (rounded_ && tree_) packed_received_ = at::empty_like(packed_);
    if (tree_) received_ = at::empty({gradients.numel() - packed}, gradients.options());
  }
  buckets_ = plan_buckets(parameters_, options.bucket_mb,
                          rounded_ ? options.reduce_type : DataType::kFloat32);
  number_buckets();
  hooks_->reducer = this;
  unwritten_.assign(parameters_.views().size(), false);
  for (std::size_t i = 0; i < parameters_.views().size(); ++i) {
    auto accumulator = torch::autograd::impl::grad_accumulator(parameters_.parameter(i));
    LOCKSTEP_CHECK(accumulator != nullptr, "{} takes no gradient", parameters_.views()[i].name);
    for (const auto& hook : accumulator->pre_hooks()) {
      const auto* other = dynamic_cast<const FirstGradient*>(hook.get());
      LOCKSTEP_CHECK(other == nullptr || !other->is_in_use(), "{} has two reducers",
                     parameters_.views()[i].name);
    }
    accumulator->add_pre_hook(std::make_unique<FirstGradient>(hooks_, i));
    accumulator->add_post_hook(std::make_unique<torch::autograd::utils::LambdaPostHook>(
        [hooks = std::weak_ptr<Hooks>(hooks_), i](const torch::autograd::variable_list& outputs,
                                                  const torch::autograd::variable_list&) {
          if (const auto alive = hooks.lock()) alive->reducer->on_gradient(i);
          return outputs;
        }));
    hooks_->accumulators.push_back(std::move(accumulator));
  }
}

GradientReducer::~GradientReducer() = default;

std::vector<GradientReducer::Bucket> GradientReducer::plan_buckets(const FlatParameters& parameters,
                                                                   double bucket_mb,
                                                                   DataType reduce_type) {
  const double limit = bucket_mb * 1024 * 1024 / sizeof(float);
  // Backward fills the first bucket within its first per cent: sending it at once starts the
  // pipeline. Nothing hides what is sent last, so that is no more either.
  const double limit_at_ends = limit / 8;
  double current_limit = limit_at_ends;
  std::vector<Bucket> buckets;
  for (const FlatParameters::View& view : parameters.views()) {
    if (buckets.empty() || static_cast<double>(buckets.back().count) >= current_limit) {
      if (!buckets.empty()) current_limit = limit;
      buckets.push_back({.offset = view.offset});
    }
    buckets.back().count += view.padded;
    ++buckets.back().parameters;
  }
  LOCKSTEP_CHECK(!buckets.empty(), "the network has no parameters");
  if (static_cast<double>(buckets.back().count) > limit_at_ends) {
    Bucket last{.offset = parameters.size()};
    for (auto view = parameters.views().rbegin();
         last.parameters + 1 < buckets.back().parameters &&
         static_cast<double>(last.count + view->padded) <= limit_at_ends;
         ++view) {
      last.offset = view->offset;
      last.count += view->padded;
      ++last.parameters;
    }
    if (last.parameters > 0) {
      buckets.back().count -= last.count;
      buckets.back().parameters -= last.parameters;
      buckets.push_back(last);
    }
  }
  const std::int64_t rest = parameters.gradients().numel() - parameters.size();
  if (rounded_type(reduce_type)) {
    buckets.push_back({.offset = parameters.size(), .count = rest});
  } else {
    buckets.back().count += rest;
  }
  return buckets;
}

void GradientReducer::number_buckets() {
  for (std::size_t bucket = 0; bucket < buckets_.size(); ++bucket) {
    bucket_of_parameter_.insert(bucket_of_parameter_.end(),
                                checked_cast<std::size_t>(buckets_[bucket].parameters),
                                checked_cast<int>(bucket));
  }
}

void GradientReducer::share_gradients() {
  // Of what is exchanged or rounded there are copies, and those are sent.
  if (tree_ || rounded_) return;
  auto memory = collectives_.allocate(parameters_.gradients().nbytes());
  if (!memory) return;
  parameters_.place_gradients(std::move(memory));
  shares_gradients_ = true;
}

void GradientReducer::begin_step(std::int64_t step) {
  LOCKSTEP_CHECK(pending_.empty(), "step {} begins before the one before it has ended", step);
  step_ = step;
  local_ = false;
  more_to_come_ = false;
  finished_shards_ = 0;
  forget_gradients();
  next_bucket_ = 0;
  missing_.clear();
  for (const Bucket& bucket : buckets_) missing_.push_back(bucket.parameters);
}

void GradientReducer::begin_local() {
  LOCKSTEP_CHECK(pending_.empty(), "step {} has not ended", step_);
  local_ = true;
  forget_gradients();
}

void GradientReducer::forget_gradients() {
  if (!parameters_.gradients().is_cpu()) return parameters_.zero_gradients();
  const at::NoGradGuard no_grad;
  const at::Tensor& gradients = parameters_.gradients();
  gradients.narrow(0, parameters_.size(), gradients.numel() - parameters_.size()).zero_();
  unwritten_.assign(unwritten_.size(), true);
}

at::Tensor GradientReducer::claim(std::size_t parameter) {
  if (!unwritten_[parameter]) return {};
  unwritten_[parameter] = false;
  return parameters_.parameter(parameter).grad();
}

torch::autograd::variable_list GradientReducer::take_gradient(
    std::size_t parameter, const torch::autograd::variable_list& gradients) {
  const at::Tensor own = claim(parameter);
  if (!own.defined()) return gradients;
  const bool graph = at::GradMode::is_enabled();
  const at::NoGradGuard no_grad;
  const at::Tensor& gradient = gradients[0];
  if (!gradient.defined() || gradient.layout() != at::kStrided || graph ||
      torch::autograd::impl::post_acc_grad_hooks(parameters_.parameter(parameter)) != nullptr) {
    own.zero_();
    return gradients;
  }
  own.copy_(gradient);
  return {at::Tensor()};
}

void GradientReducer::zero_unwritten_gradients() {
  const at::NoGradGuard no_grad;
  for (std::size_t i = 0; i < unwritten_.size(); ++i) {
    if (const at::Tensor own = claim(i); own.defined()) own.zero_();
  }
}

void GradientReducer::on_gradient(std::size_t parameter) {
  // Only what the last pass over this rank's last shard adds completes a bucket.
  if (local_ || more_to_come_ || world_.size() == 1 || finished_shards_ + 1 < local_shards_) return;
  --missing_[static_cast<std::size_t>(bucket_of_parameter_[parameter])];
  launch_ready_buckets(/*all=*/false);
  collectives_.progress();
}

at::Tensor GradientReducer::gradient(const Bucket& bucket) const {
  return parameters_.gradients().narrow(0, bucket.offset, bucket.count);
}

at::Tensor GradientReducer::outgoing(const Bucket& bucket) const {
  return is_rounded(bucket) ? packed_.narrow(0, bucket.offset, bucket.count) : gradient(bucket);
}

at::Tensor GradientReducer::incoming(const Bucket& bucket) const {
  if (is_rounded(bucket)) return packed_received_.narrow(0, bucket.offset, bucket.count);
  const std::int64_t begin = rounded_ ? parameters_.size() : 0;
  return received_.narrow(0, bucket.offset - begin, bucket.count);
}

void GradientReducer::round(const Bucket& bucket) {
  if (!is_rounded(bucket)) return;
  const at::Tensor values = gradient(bucket);
  values.copy_(values.to(*rounded_));
}

void GradientReducer::pack(const Bucket& bucket) {
  if (is_rounded(bucket)) outgoing(bucket).copy_(gradient(bucket));
}

at::Tensor GradientReducer::as_sent() {
  zero_unwritten_gradients();
  if (!rounded_) return parameters_.gradients();
  const at::NoGradGuard no_grad;
  at::Tensor sent = parameters_.gradients().clone();
  const at::Tensor values = sent.narrow(0, 0, parameters_.size());
  values.copy_(values.to(*rounded_));
  return sent;
}

// Buckets are launched in one order on every rank: a collective matches its peers by order.
void GradientReducer::launch_ready_buckets(bool all) {
  const at::NoGradGuard no_grad;
  while (next_bucket_ < buckets_.size() && (all || missing_[next_bucket_] == 0)) {
    const std::size_t number = next_bucket_++;
    const Bucket& bucket = buckets_[number];
    if (tree_) {
      add_subtree(local_shards_ - 1, bucket);
      pending_.push_back(exchange(number, /*distance=*/1));
    } else {
      pack(bucket);
      const OperationLabel label{
          .name = "all-reduce", .bucket = checked_cast<int>(number), .step = step_};
      pending_.push_back(
          collectives_.all_reduce(buffer_of(outgoing(bucket)), ReduceOp::kSum, label));
    }
  }
}

void GradientReducer::finish_shard(int local_shard) {
  parameters_.check_gradient_views();
  zero_unwritten_gradients();
  finished_shards_ = local_shard + 1;
  const bool last = finished_shards_ == local_shards_;
  if (last && world_.size() > 1) return launch_ready_buckets(/*all=*/true);
  if (!tree_) return;
  const at::NoGradGuard no_grad;
  std::size_t level = 0;
  for (const Bucket& bucket : buckets_) level = add_subtree(local_shard, bucket);
  if (last) return;
  subtree_sums_[level].copy_(parameters_.gradients());
  forget_gradients();
}

// Like a carry in binary counting: two finished subtrees of one size become the next larger one.
std::size_t GradientReducer::add_subtree(int local_shard, const Bucket& bucket) {
  const at::Tensor sum = gradient(bucket);
  round(bucket);
  auto shards = static_cast<unsigned>(local_shard);
  std::size_t level = 0;
  for (; (shards & 1u) != 0; shards >>= 1, ++level) {
    sum.copy_(subtree_sums_[level].narrow(0, bucket.offset, bucket.count) + sum);
    round(bucket);
  }
  return level;
}

std::unique_ptr<PendingOperation> GradientReducer::exchange(std::size_t bucket, int distance) {
  pack(buckets_[bucket]);
  return collectives_.exchange(
      buffer_of(outgoing(buckets_[bucket])), buffer_of(incoming(buckets_[bucket])),
      world_.rank() ^ distance,
      {.name = "exchange", .bucket = checked_cast<int>(bucket), .step = step_});
}

void GradientReducer::sum_over_ranks() {
  const at::NoGradGuard no_grad;
  for (int distance = 1; distance < world_.size(); distance *= 2) {
    for (std::size_t i = 0; i < buckets_.size(); ++i) {
      pending_[i]->wait();
      const Bucket& bucket = buckets_[i];
      gradient(bucket).add_(incoming(bucket));
      round(bucket);
      if (2 * distance < world_.size()) pending_[i] = exchange(i, 2 * distance);
    }
  }
}

void GradientReducer::finish_step() {
  LOCKSTEP_CHECK(finished_shards_ == local_shards_, "{} of {} shards are finished",
                 finished_shards_, local_shards_);
  if (world_.size() == 1) {
    // Nothing else tells the watchdog that steps go on.
    world_.publish_progress();
    return;
  }
  if (tree_) {
    sum_over_ranks();
  } else {
    const at::NoGradGuard no_grad;
    for (std::size_t i = 0; i < buckets_.size(); ++i) {
      pending_[i]->wait();
      if (is_rounded(buckets_[i])) gradient(buckets_[i]).copy_(outgoing(buckets_[i]));
    }
  }
  pending_.clear();
  // On a GPU the waits above only order its streams. The control words are read next, and a copy
  // that waits for a rank that will not come has no deadline.
  if (collectives_.on_device()) collectives_.synchronize();
}

}  // namespace lockstep
