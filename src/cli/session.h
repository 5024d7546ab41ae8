// What every subcommand that computes begins with: settings, the world, the device, the data.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "command_line.h"
#include "lockstep/base/log.h"
#include "lockstep/cli/settings.h"
#include "lockstep/comm/collectives.h"
#include "lockstep/comm/fault_plan.h"
#include "lockstep/comm/world.h"
#include "lockstep/data/dataset.h"
#include "lockstep/data/load.h"
#include "lockstep/model/compute_device.h"
#include "lockstep/model/network.h"

namespace lockstep {

// The parts of a session, for a command that looks at ranks that may not fit together.

/// --log-level.
LogLevel log_level(const std::string& name);
/// What the arguments ask for; with a wrong command line the defaults and `failure`. Every rank
/// starts MPI all the same: only together can they end in order, with one message.
ParsedSettings parse_or_defaults(const Command& command, std::span<const std::string> arguments,
                                 std::optional<World::Failure>& failure);
World start_world(const CommOptions& options, FaultPlan& faults);
/// The GPU of this rank, or none: every rank computes on the same kind of device. Collective.
std::optional<int> choose_gpu(World& world, const Settings& settings);

/// Starts MPI, agrees on the settings, and sets up logging and the device. Collective from its
/// constructor on: a failure of any rank is an AgreedError on all.
class Session {
 public:
  Session(const Command& command, std::span<const std::string> arguments);

  World& world() { return world_; }
  const ParsedSettings& parsed() const { return parsed_; }
  const Settings& settings() const { return parsed_.settings; }
  const ComputeDevice& device() const { return device_; }
  const World& world() const { return world_; }
  /// What --inject-fault asks for outside of the trainer, which has a copy of its own.
  FaultPlan& faults() { return faults_; }

  /// Throws AgreedError{code} naming the ranks whose `text` (of `what`) is not the root's; with
  /// `says_which`, for texts that people can read, also the first lines that differ.
  void require_equal(const std::string& text, const std::string& what, ExitCode code,
                     bool says_which = false);

 private:
  std::optional<World::Failure> parse_failure_;
  ParsedSettings parsed_;
  FaultPlan faults_;
  World world_;
  ComputeDevice device_;
};

/// In a catch block: throws what was caught as an Error whose message begins with where this rank
/// is.
[[noreturn]] void throw_with_position(const World& world);

/// Runs `work`, whose AgreedErrors the root reports here, while the other ranks still wait for it
/// at the world's end: once any rank has left, mpirun may end the others before they have spoken.
/// Any other failure leaves as an Error that says on which rank it was, and where.
template <typename Work>
auto reporting(World& world, Work&& work) {
  try {
    return std::forward<Work>(work)();
  } catch (const AgreedError& error) {
    if (world.is_root()) log_error("{}", error.what());
    throw;
  } catch (...) {
    throw_with_position(world);
  }
}

/// The network that `settings` name, for images of the shape in `data`.
std::shared_ptr<Network> network_for(const Settings& settings, const Dataset& data);

/// "1x28x28".
std::string shape_text(const Dataset& data);

}  // namespace lockstep
