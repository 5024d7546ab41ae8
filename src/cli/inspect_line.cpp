#include "inspect_line.h"

#include <fmt/format.h>

#include <algorithm>

#include "lockstep/base/text.h"

namespace lockstep {

std::string titled_line(std::string_view title, std::size_t indent, std::string_view content,
                        std::size_t columns) {
  constexpr std::size_t kNarrowest = 20;
  const std::size_t width = std::max(kNarrowest, columns - std::min(columns, indent));
  std::string text = fmt::format("{:<{}}", title, indent);
  for (const char character : wrapped(content, 0, width)) {
    if (text.back() == '\n') text.append(indent, ' ');
    text += character;
  }
  return text;
}

}  // namespace lockstep
