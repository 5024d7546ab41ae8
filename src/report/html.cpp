#include "report/html.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <cstddef>
#include <utility>

#include "lockstep/base/text.h"

namespace lockstep::report {

namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

// Bytes of the UTF-8 character at the front of `text`; 0: it is none (RFC 3629, section 4).
std::size_t character_length(std::string_view text) {
  const auto byte = [&](std::size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u;
  };
  const unsigned first = byte(0);
  if (first < 0x80) return 1;
  std::size_t length = 0;
  unsigned low = 0x80, high = 0xBF;  // of the second byte
  if (first >= 0xC2 && first <= 0xDF) length = 2;
  if (first >= 0xE0 && first <= 0xEF) length = 3;
  if (first >= 0xF0 && first <= 0xF4) length = 4;
  if (first == 0xE0) low = 0xA0;
  if (first == 0xED) high = 0x9F;
  if (first == 0xF0) low = 0x90;
  if (first == 0xF4) high = 0x8F;
  if (length == 0 || byte(1) < low || byte(1) > high) return 0;
  for (std::size_t i = 2; i < length; ++i) {
    if (byte(i) < 0x80 || byte(i) > 0xBF) return 0;
  }
  return length;
}

std::string data(double value, const std::string& shown) {
  return fmt::format("<data value=\"{}\">{}</data>", value, shown);
}

constexpr std::array<std::pair<std::string_view, char>, 5> kEntities{
    {{"&amp;", '&'}, {"&lt;", '<'}, {"&gt;", '>'}, {"&quot;", '"'}, {"&#39;", '\''}}};

}  // namespace

std::string escape(std::string_view text) {
  std::string result;
  while (!text.empty()) {
    const char first = text[0];
    const std::size_t length = character_length(text);
    const bool control = static_cast<unsigned char>(first) < 0x20 && first != '\n' && first != '\t';
    std::string_view shown = text.substr(0, length);
    if (length == 0 || control || first == '\x7F') shown = kReplacement;
    for (const auto& [entity, character] : kEntities) {
      if (first == character) shown = entity;
    }
    result += shown;
    text.remove_prefix(length == 0 ? 1 : length);
  }
  return result;
}

std::string unescape_xml(std::string_view text) {
  std::string result;
  while (!text.empty()) {
    std::size_t length = 1;
    char character = text[0];
    for (const auto& [entity, plain] : kEntities) {
      if (!text.starts_with(entity)) continue;
      character = plain;
      length = entity.size();
    }
    result += character;
    text.remove_prefix(length);
  }
  return result;
}

std::string number(double value, int digits) {
  if (!std::isfinite(value)) return "not finite";
  return data(value, fmt::format("{:.{}g}", value, digits));
}

std::string percent(double share, int decimals) {
  if (!std::isfinite(share)) return "not finite";
  const double least = std::pow(10.0, -decimals);
  std::string shown = fmt::format("{:.{}f}&nbsp;%", 100 * share, decimals);
  if (share > 0 && 100 * share < least / 2) {
    shown = fmt::format("&lt;&nbsp;{:.{}f}&nbsp;%", least, decimals);
  } else if (share < 1 && 100 * share >= 100 - least / 2) {
    shown = fmt::format("&gt;&nbsp;{:.{}f}&nbsp;%", 100 - least, decimals);
  }
  return data(share, shown);
}

std::string count(std::int64_t value) {
  return fmt::format("<data value=\"{}\">{}</data>", value, format_count(value));
}

std::string duration(double seconds) {
  if (!std::isfinite(seconds)) return "unknown";
  return data(seconds, format_duration(seconds));
}

std::string percent_or_dash(const std::optional<double>& share, int decimals) {
  return share ? percent(*share, decimals) : "–";
}

std::string table(const std::string& caption, const std::vector<std::string>& head,
                  const std::vector<std::vector<Cell>>& rows, const std::string& classes) {
  std::string text = fmt::format(
      "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"table\"><table "
      "class=\"{}\">",
      classes);
  if (!caption.empty()) text += fmt::format("<caption>{}</caption>", caption);
  text += "<thead><tr>";
  for (const std::string& cell : head) text += fmt::format("<th scope=\"col\">{}</th>", cell);
  text += "</tr></thead><tbody>\n";
  for (const auto& row : rows) {
    text += "<tr>";
    for (std::size_t i = 0; i < row.size(); ++i) {
      const auto& [html, attributes] = row[i];
      text += i == 0 ? fmt::format("<th scope=\"row\"{}>{}</th>", attributes, html)
                     : fmt::format("<td{}>{}</td>", attributes, html);
    }
    text += "</tr>\n";
  }
  return text + "</tbody></table></div>\n";
}

std::string section(const std::string& id, const std::string& title, const std::string& content) {
  return fmt::format(
      "<section id=\"{0}\" aria-labelledby=\"{0}-heading\"><h2 "
      "id=\"{0}-heading\">{1}</h2>\n{2}</section>\n",
      id, title, content);
}

}  // namespace lockstep::report
