// What no single value shows to be wrong.
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <iterator>

#include "cli/settings_table.h"
#include "lockstep/comm/fault_plan.h"

namespace lockstep {

std::vector<std::string> problems_without_validation(const Settings& settings) {
  std::vector<std::string> found;
  if (settings.schedule.name == "plateau") {
    found.emplace_back(
        "schedule plateau: needs a validation split: set validation-fraction above 0, or schedule "
        "to constant or one-cycle");
  }
  if (settings.train.early_stopping > 0) {
    found.emplace_back("early-stopping: needs a validation split: set validation-fraction above 0");
  }
  return found;
}

std::vector<std::string> find_contradictions(const Settings& settings) {
  const auto& [train, model, data, augment, augmentation, optimizer, schedule, comm, meaningless] =
      settings;
  std::vector<std::string> found = problems(optimizer);
  std::ranges::move(problems(schedule), std::back_inserter(found));
  for (const std::string& problem : FaultPlan::problems(comm.inject_fault)) {
    found.push_back("inject-fault: " + problem);
  }
  if (data.validation_fraction == 0) {
    std::ranges::move(problems_without_validation(settings), std::back_inserter(found));
  }
  if (train.virtual_ranks > 0) {
    if (!std::has_single_bit(static_cast<unsigned>(train.virtual_ranks))) {
      found.push_back(
          fmt::format("virtual-ranks: must be a power of two or 0, not {}", train.virtual_ranks));
    }
    if (train.batch_size_per_rank > 0) {
      found.push_back(
          "virtual-ranks: needs batch-size, not batch-size-per-rank, which makes the result depend "
          "on "
          "the number of ranks");
    }
    if (schedule.scale_with_world) {
      found.push_back(
          "virtual-ranks: excludes scale-learning-rate, which makes the result depend on the "
          "number "
          "of ranks");
    }
  }
  if (comm.backend == "nccl" && model.device == "cpu") {
    found.push_back("backend nccl: carries gradients between GPUs only, and device is cpu");
  }
  if (model.convolution == "fast" && model.device == "cuda") {
    found.push_back("convolution fast: runs on CPUs only, and device is cuda");
  }
  if (train.resume == "auto" && train.out.empty()) {
    found.push_back("resume auto: needs out, the run directory to look in");
  }
  return found;
}

}  // namespace lockstep
