#include "lockstep/comm/operation.h"

#include <fmt/core.h>

#include <cstddef>

namespace lockstep {

std::string_view name_of(Phase phase) {
  switch (phase) {
    case Phase::kStartUp:
      return "start-up";
    case Phase::kDataCheck:
      return "data check";
    case Phase::kTraining:
      return "training";
    case Phase::kValidation:
      return "validation";
    case Phase::kCheckpoint:
      return "checkpoint";
    case Phase::kEvaluation:
      return "evaluation";
    case Phase::kShutdown:
      return "shutdown";
  }
  return "unknown phase";
}

std::string_view name_of(OperationKind kind) {
  switch (kind) {
    case OperationKind::kNone:
      break;
    case OperationKind::kAllReduce:
      return "all_reduce";
    case OperationKind::kBroadcast:
      return "broadcast";
    case OperationKind::kExchange:
      return "exchange";
    case OperationKind::kControl:
      return "control";
  }
  return "none";
}

std::string describe(OperationKind kind, std::string_view name, int bucket, std::int64_t step) {
  std::string text = fmt::format("{} '{}'", name_of(kind), name);
  if (bucket >= 0) text += fmt::format(" bucket {}", bucket);
  if (step >= 0) text += fmt::format(" of step {}", step);
  return text;
}

std::string describe(OperationKind kind, const OperationLabel& label) {
  return describe(kind, label.name, label.bucket, label.step);
}

std::string describe_ranks(std::span<const int> ranks) {
  std::string text = ranks.size() == 1 ? "rank " : "ranks ";
  for (std::size_t i = 0; i < ranks.size();) {
    std::size_t last = i;
    while (last + 1 < ranks.size() && ranks[last + 1] == ranks[last] + 1) ++last;
    if (i > 0) text += ", ";
    text += fmt::format("{}", ranks[i]);
    if (last > i) text += fmt::format("{}{}", last == i + 1 ? ", " : "-", ranks[last]);
    i = last + 1;
  }
  return text;
}

}  // namespace lockstep
