// The IDX format of the MNIST files: a big-endian magic number (two zero bytes, element type 8 for
// unsigned bytes, number of dimensions), one big-endian 32-bit size a dimension, then the elements.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "lockstep/data/dataset.h"

namespace lockstep::data {

/// Whether a file with these first bytes wants to be IDX, of any type and number of dimensions.
bool looks_like_idx(std::string_view head);

/// Images [N,H,W] or [N,C,H,W], and labels [N] if a file is given. Checks magic, sizes, exact
/// length, equal counts and label range, the headers before memory is taken; throws
/// Error{kBadData}. `progress`: see ByteSource. `damaged`: labels out of range are told to it, and
/// their images left out.
Dataset read_idx(const std::filesystem::path& images,
                 const std::optional<std::filesystem::path>& labels,
                 const std::function<void()>& progress = {},
                 const std::function<void(const std::string&)>& damaged = {});

}  // namespace lockstep::data
