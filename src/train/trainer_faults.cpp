// The parts of Trainer that rehearse failures.
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <bit>
#include <limits>
#include <utility>

#include "lockstep/base/error.h"
#include "lockstep/train/trainer.h"

namespace lockstep {

namespace {

[[noreturn]] void refuse_tensor(const PlannedFault& fault) {
  fail(ExitCode::kUsage, "--inject-fault: {}: the network has no tensor {}", fault.name(),
       fault.tensor);
}

}  // namespace

const FlatParameters::View& Trainer::view_of(const PlannedFault& fault) const {
  const auto& views = parameters_.views();
  if (fault.tensor.empty()) return views.back();
  const auto view = std::ranges::find(views, fault.tensor, &FlatParameters::View::name);
  if (view == views.end()) refuse_tensor(fault);
  return *view;
}

// A flip may also strike what goes with the weights, under the name it has in messages:
// square_average.dense2.weight, ema.dense2.weight.
at::Tensor Trainer::target_of(const PlannedFault& fault) {
  const FlatParameters::View& first = parameters_.views().back();
  for (const Replica& replica : replicas()) {
    for (const FlatParameters::View& view : parameters_.views()) {
      const bool meant =
          fault.tensor.empty() ? &view == &first : fault.tensor == replica.prefix + view.name;
      if (meant) return replica.values.narrow(0, view.offset, view.count);
    }
  }
  refuse_tensor(fault);
}

void Trainer::check_faults() {
  for (const PlannedFault& fault : config_.faults.faults()) {
    const bool at_weights = fault.place == FaultPlace::kWeights;
    const std::int64_t count = at_weights ? target_of(fault).numel() : view_of(fault).count;
    if (fault.element < count) continue;
    const std::string& tensor =
        fault.tensor.empty() ? parameters_.views().back().name : fault.tensor;
    fail(ExitCode::kUsage, "--inject-fault: {}: element {} of {}, which has {}", fault.name(),
         fault.element, tensor, count);
  }
}

// Adds terms whose gradient is what is wanted in one element of one parameter, and zero elsewhere.
at::Tensor Trainer::with_faults(at::Tensor objective) {
  if (config_.faults.empty()) return objective;
  const std::int64_t step = state_.cursor.global_step + 1;
  for (const auto& [kind, value] :
       {std::pair(FaultKind::kNan, std::numeric_limits<double>::quiet_NaN()),
        std::pair(FaultKind::kInf, std::numeric_limits<double>::infinity())}) {
    for (const PlannedFault& fault :
         config_.faults.due(kind, FaultPlace::kGradient, world_.rank(), step)) {
      const auto index = &view_of(fault) - parameters_.views().data();
      const at::Tensor& parameter = parameters_.parameter(static_cast<std::size_t>(index));
      objective = objective + parameter.flatten()[fault.element] * value;
    }
  }
  return objective;
}

void Trainer::flip_weights() {
  const at::NoGradGuard no_grad;
  for (const PlannedFault& fault : config_.faults.due(
           FaultKind::kFlip, FaultPlace::kWeights, world_.rank(), state_.cursor.global_step + 1)) {
    const at::Tensor element = target_of(fault).narrow(0, fault.element, 1);
    const auto bits = std::bit_cast<std::uint32_t>(element.item<float>());
    element.fill_(std::bit_cast<float>(bits ^ (1u << static_cast<unsigned>(fault.bit))));
  }
}

}  // namespace lockstep
