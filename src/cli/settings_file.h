// The INI form of settings: name = value lines, # comments, quoted values.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace lockstep {

struct IniLine {
  std::size_t number = 0;  ///< from 1
  std::string name;
  std::string value;
  std::string problem;  ///< why the line cannot be read; name and value are empty then
};

/// The lines that are neither empty nor comments, in order.
std::vector<IniLine> parse_ini(std::string_view text);

/// A value as parse_ini reads it back: quoted only where it must be. It holds no line break.
std::string ini_value(std::string_view value);

}  // namespace lockstep
