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
#include "lockstep/comm/world.h"
#include "lockstep/data/dataset.h"
#include "lockstep/data/load.h"
#include "lockstep/model/compute_device.h"
#include "lockstep/model/network.h"

namespace lockstep {

/// Starts MPI, agrees on the settings, and sets up logging and the device. Collective from its
/// constructor on: a failure of any rank is an AgreedError on all.
class Session {
 public:
  Session(const Command& command, std::span<const std::string> arguments);

  World& world() { return world_; }
  const ParsedSettings& parsed() const { return parsed_; }
  const Settings& settings() const { return parsed_.settings; }
  const ComputeDevice& device() const { return device_; }

  /// Throws AgreedError{code} naming the ranks whose `text` (of `what`) is not the root's.
  void require_equal(const std::string& text, const std::string& what, ExitCode code);

 private:
  std::optional<World::Failure> parse_failure_;
  ParsedSettings parsed_;
  World world_;
  ComputeDevice device_;
};

/// Runs `work`, whose AgreedErrors the root reports here, while the other ranks still wait for it
/// at the world's end: once any rank has left, mpirun may end the others before they have spoken.
template <typename Work>
auto reporting(World& world, Work&& work) {
  try {
    return std::forward<Work>(work)();
  } catch (const AgreedError& error) {
    if (world.is_root()) log_error("{}", error.what());
    throw;
  }
}

/// The network that `settings` name, for images of the shape in `data`.
std::shared_ptr<Network> network_for(const Settings& settings, const Dataset& data);

/// "1x28x28".
std::string shape_text(const Dataset& data);

}  // namespace lockstep
