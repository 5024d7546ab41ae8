// --checkpoint DIR of the commands that only read.
#pragma once

#include <filesystem>

namespace lockstep {

/// The checkpoint directory that is meant: a run directory stands for its best one, or its newest.
/// Throws Error{kInputMissing} for a run without any.
std::filesystem::path checkpoint_directory(const std::filesystem::path& given);

}  // namespace lockstep
