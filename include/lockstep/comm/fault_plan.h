// Failures on purpose: what goes wrong, where, on which rank and in which step.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace lockstep {

enum class FaultKind {
  kKill,   ///< SIGKILL to the own process
  kStop,   ///< SIGSTOP to the own process; SIGCONT lets it go on
  kHang,   ///< the calling thread never returns
  kThrow,  ///< a plain std::runtime_error
  kSlow,   ///< sleeps `seconds`, silently
  kNan,    ///< makes one element of the own gradient, or the first one received, NaN
  kInf,    ///< makes it infinite
  kFlip,   ///< flips one bit
};

enum class FaultPlace {
  kStart,       ///< before the world is up
  kLoad,        ///< before data are read
  kForward,     ///< before the forward pass of a shard
  kAllReduce,   ///< after an operation of the data plane was issued, before it is waited for
  kGradient,    ///< the own gradient, before it is reduced (nan, inf)
  kWeights,     ///< the own weights, after the update (flip)
  kValidation,  ///< before each chunk of the validation split
  kCheckpoint,  ///< root: whenever the writing reports progress; others: when it is handed over
  kShutdown,    ///< when all work is done
};

struct PlannedFault {
  static constexpr int kAllRanks = -1;

  FaultKind kind = FaultKind::kKill;
  FaultPlace place = FaultPlace::kStart;
  int rank = kAllRanks;
  /// Global steps, counted from 1; validation and checkpoint: of the last step before.
  std::int64_t first_step = std::numeric_limits<std::int64_t>::min();
  std::int64_t last_step = std::numeric_limits<std::int64_t>::max();
  std::int64_t pass = 0;  ///< which passage of the place within the step, from 1; 0: every one
  int attempt = 0;        ///< which try of launch/train --restarts, from 1; 0: every one
  double seconds = 0;
  std::string tensor{};  ///< empty: the network's first
  std::int64_t element = 0;
  int bit = 0;  ///< 0: the lowest of the mantissa, 31: the sign

  /// "kill@forward".
  std::string name() const;
};

/// The faults of one run. A copy counts passages anew, and tells the original which faults have
/// struck. Not thread-safe.
class FaultPlan {
 public:
  FaultPlan() = default;

  /// Faults are separated by ';': `KIND@PLACE:KEY=VALUE,KEY=VALUE` with the keys rank (a number, or
  /// all; required), step (N or N-M), pass, try, seconds, tensor, element and bit, each where it
  /// makes sense. Empty text: no faults. Which try of the job this is stands in the environment,
  /// LOCKSTEP_TRY; without it, it is the first. Throws Error{kUsage} listing what problems() finds.
  static FaultPlan parse(std::string_view text);
  /// Everything that is wrong with the text, one sentence each.
  static std::vector<std::string> problems(std::string_view text);

  bool empty() const { return faults_.empty(); }
  /// The faults' texts, as given.
  const std::string& text() const { return text_; }
  /// Throws Error{kUsage} for ranks the world does not have.
  void check_ranks(int world_size) const;

  /// This rank passes this place: does what is planned for it, after saying so. Cheap where nothing
  /// is. May not return.
  void reach(FaultPlace place, int rank, std::int64_t step = 0);
  /// The faults of this kind that strike this passage, for the caller to carry out.
  std::vector<PlannedFault> due(FaultKind kind, FaultPlace place, int rank, std::int64_t step);
  const std::vector<PlannedFault>& faults() const { return faults_; }
  /// The faults planned for this rank, this try and a place within steps that have not struck: a
  /// rehearsal that rehearses nothing.
  std::vector<std::string> never_struck(int rank) const;

 private:
  struct Passage {
    std::int64_t step = -1;
    std::int64_t count = 0;
    bool announced = false;
  };
  bool concerns(const PlannedFault& fault, int rank) const;
  bool strikes(std::size_t i, FaultPlace place, int rank, std::int64_t step);

  std::string text_;
  std::vector<PlannedFault> faults_;
  std::vector<Passage> passages_;              // of faults_
  std::shared_ptr<std::vector<char>> struck_;  // of faults_, shared by all copies
  int attempt_ = 1;
};

}  // namespace lockstep
