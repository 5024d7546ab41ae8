// The commands and settings as a manual page and as completions for bash: from the tables that
// --help is made of.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "command_line.h"

namespace lockstep {

/// lockstep(1) in the macros of man(7). `version`: "0.1.0".
std::string manual_page(std::span<const Command> commands, std::string_view version);

/// A script to be sourced by bash, or installed into share/bash-completion/completions.
std::string bash_completion(std::span<const Command> commands);

}  // namespace lockstep
