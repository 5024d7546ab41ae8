// Images as comma-separated text, one a line; the format is described in lockstep/data/load.h.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

#include "lockstep/data/dataset.h"
#include "lockstep/data/load.h"

namespace lockstep::data {

/// Whether a file with these first bytes can be text at all; where in a text it goes wrong read_csv
/// says better.
bool looks_like_text(std::string_view head);

/// Throws Error{kBadData} naming file, line, column, what was found and what was expected. The file
/// is read as a stream: memory is taken for the pixels of complete, valid rows only. `progress` is
/// called as ByteSource says. `damaged`: rows that are no image are told to it, and left out.
Dataset read_csv(const std::filesystem::path& path, Labels labels,
                 const std::function<void()>& progress = {},
                 const std::function<void(const std::string&)>& damaged = {});

}  // namespace lockstep::data
