// What this host's ledgers tell, for messages about deadlines.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace lockstep {

/// A line each for up to eight ranks, before all others those that are waited for, and one that
/// names the rest; each line begins with a line break and two blanks. Empty when there is nothing
/// to tell. Never throws.
std::string diagnosis(const std::filesystem::path& ledger_directory, std::uint64_t job) noexcept;

}  // namespace lockstep
