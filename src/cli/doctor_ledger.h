// lockstep doctor --ledger: what a dead job's ledgers tell.
#pragma once

#include <filesystem>
#include <string>

namespace lockstep {

/// The text for standard output: the first line is the conclusion on the newest job below
/// `directory`, then a table of its ranks; or one JSON object. Throws Error{kInputMissing} when the
/// directory cannot be read or holds no ledger, Error{kBadData} when it holds damaged ones only.
std::string explain_ledgers(const std::filesystem::path& directory, bool json);

}  // namespace lockstep
