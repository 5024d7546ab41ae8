// Lines of what lockstep inspect prints.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace lockstep {

/// `title`, and from column `indent` on `content`, broken at blanks so that lines have at most
/// `columns` columns where the words fit. A line break in it stays one.
std::string titled_line(std::string_view title, std::size_t indent, std::string_view content,
                        std::size_t columns);

}  // namespace lockstep
