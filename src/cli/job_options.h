// Options of the commands that train at several numbers of ranks.
#pragma once

#include <string>
#include <vector>

#include "lockstep/cli/settings.h"

namespace lockstep {

/// The GPUs that a job with these settings would use; 0: it runs on CPUs.
int gpus_for(const Settings& settings);
/// Those GPUs, or else the cores: so many ranks have one each on this machine.
int rank_places(const Settings& settings);

/// A whole number from low to high. Throws Error{kUsage} naming --name.
int to_int(const std::string& text, const std::string& name, int low, int high);
/// "1,2,4", in the order given, of the option --name. Throws Error{kUsage}.
std::vector<int> parse_ranks(const std::string& list, const std::string& name = "ranks");

}  // namespace lockstep
