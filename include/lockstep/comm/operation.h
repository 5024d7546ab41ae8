// What a rank is doing: the words of ledgers, messages and deadlines.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace lockstep {

/// The part of a run a rank is in. Values are stored in ledgers: never renumber.
enum class Phase : std::uint8_t {
  kStartUp = 1,
  kDataCheck = 2,
  kTraining = 3,
  kValidation = 4,
  kCheckpoint = 5,
  kEvaluation = 6,
  kShutdown = 7,
};

/// "start-up", "data check", "training", ...; "unknown phase" for any other value.
std::string_view name_of(Phase phase);

/// Something several ranks do together. Values are stored in ledgers: never renumber.
enum class OperationKind : std::uint8_t {
  kNone = 0,
  kAllReduce = 1,
  kBroadcast = 2,
  kExchange = 3,
  kControl = 4,  ///< any operation of the control plane
};

/// "all_reduce", "broadcast", "exchange", "control"; "none" for any other value.
std::string_view name_of(OperationKind kind);

/// Names one operation for ledgers and messages. `name` must outlive the operation: a literal.
struct OperationLabel {
  const char* name = "";
  int bucket = -1;         ///< gradient bucket, or -1
  std::int64_t step = -1;  ///< global step, or -1
};

/// "all_reduce 'gradients' bucket 3 of step 412".
std::string describe(OperationKind kind, std::string_view name, int bucket, std::int64_t step);
std::string describe(OperationKind kind, const OperationLabel& label);

/// Rank numbers for people, ascending: "rank 3", "ranks 1, 4-7".
std::string describe_ranks(std::span<const int> ranks);

}  // namespace lockstep
