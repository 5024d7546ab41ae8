// JSON from files that anyone may have written.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace lockstep {

/// Parses one JSON document. Throws Error{kBadData} naming `origin` for what is not JSON and for
/// everything that JSON readers disagree about: a key twice in one object, a NUL byte, a byte order
/// mark, text that is not UTF-8, a number out of range, nesting deeper than `max_depth`. Memory is
/// in proportion to the text.
nlohmann::json parse_strict_json(std::string_view text, std::string_view origin,
                                 int max_depth = 16);

/// `text` from such a file, fit for a message: in quotes, ASCII, control characters escaped, long
/// text cut.
std::string printable(std::string_view text);

}  // namespace lockstep
