// What this host's ledgers tell, for messages about deadlines.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace lockstep {

/// One line a rank, each beginning with a line break and two blanks; empty when there is nothing to
/// tell. Never throws.
std::string diagnosis(const std::filesystem::path& ledger_directory, std::uint64_t job) noexcept;

}  // namespace lockstep
