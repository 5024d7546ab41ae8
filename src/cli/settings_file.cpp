#include "cli/settings_file.h"

#include <algorithm>

namespace lockstep {

namespace {

constexpr std::string_view kBlanks = " \t\r";

std::string_view trim(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(kBlanks);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlanks) - begin + 1);
}

bool is_blank(char c) { return kBlanks.find(c) != std::string_view::npos; }

std::string_view cut_comment(std::string_view text) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '#' && (i == 0 || is_blank(text[i - 1]))) return text.substr(0, i);
  }
  return text;
}

void parse_quoted(std::string_view text, IniLine& line) {
  std::size_t i = 1;
  for (; i < text.size(); ++i) {
    if (text[i] == '"') {
      if (i + 1 == text.size() || text[i + 1] != '"') break;
      ++i;
    }
    line.value += text[i];
  }
  if (i >= text.size()) {
    line.problem = "the closing quote is missing";
  } else if (!trim(cut_comment(text.substr(i + 1))).empty()) {
    line.problem = "text after the closing quote";
  }
}

IniLine parse_line(std::string_view text) {
  IniLine line;
  const std::size_t equals = text.find('=');
  const std::string_view name = trim(text.substr(0, equals));
  if (text.front() == '[') {
    line.problem = "sections are not used here";
  } else if (equals == std::string_view::npos || name.empty()) {
    line.problem = "expected name = value";
  } else {
    line.name = name;
    const std::string_view value = trim(text.substr(equals + 1));
    if (value.starts_with('"')) {
      parse_quoted(value, line);
    } else {
      line.value = trim(cut_comment(value));
    }
  }
  if (!line.problem.empty()) line.name = line.value = "";
  return line;
}

}  // namespace

std::vector<IniLine> parse_ini(std::string_view text) {
  // Boost.Program_options' own reader ends a value at any '#', which paths may hold, stops at the
  // first bad line and does not tell its number.
  std::vector<IniLine> lines;
  for (std::size_t number = 1; !text.empty(); ++number) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view content = trim(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (content.empty() || content.front() == '#') continue;
    lines.push_back(parse_line(content));
    lines.back().number = number;
  }
  return lines;
}

std::string ini_value(std::string_view value) {
  const bool plain = trim(value).size() == value.size() && value.find_first_of("#\"") == value.npos;
  if (plain) return std::string(value);
  std::string quoted = "\"";
  for (const char c : value) {
    if (c == '"') quoted += c;
    quoted += c;
  }
  return quoted + '"';
}

}  // namespace lockstep
