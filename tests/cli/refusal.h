// Shared by the tests of settings.
#pragma once

#include <string>
#include <vector>

#include "lockstep/base/error.h"
#include "lockstep/cli/settings.h"

namespace lockstep {

using Arguments = std::vector<std::string>;

/// What parse_settings refuses: its code and message; kDone when it accepts.
struct Refusal {
  ExitCode code = ExitCode::kDone;
  std::string message;
};

inline Refusal refusal(const Arguments& arguments, const CommandLine& accepted = {}) {
  try {
    parse_settings(arguments, accepted);
  } catch (const Error& error) {
    return {error.code(), error.what()};
  }
  return {};
}

}  // namespace lockstep
