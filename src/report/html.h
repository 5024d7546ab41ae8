// Pieces of HTML. Text of a run (paths, host names, settings) enters a page through escape() alone.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lockstep::report {

/// `text` as the content of an element or of a quoted attribute. Bytes that are no UTF-8, and
/// control characters, become U+FFFD.
std::string escape(std::string_view text);
/// The five entities of XML as characters again.
std::string unescape_xml(std::string_view text);

// Numbers: <data value="...">, whose value reads back to the same bits, around what a person reads.

/// "0.0393", with `digits` significant ones; "not finite".
std::string number(double value, int digits = 4);
/// 0.9861 -> "98.61 %"; a share that would be shown as 0 or 100 and is not is "< 0.01 %", "> 99.99
/// %".
std::string percent(double share, int decimals = 2);
std::string count(std::int64_t value);
/// "4 min 20 s".
std::string duration(double seconds);
/// An en dash where there is nothing.
std::string percent_or_dash(const std::optional<double>& share, int decimals = 2);

/// A cell of a table, of HTML.
struct Cell {
  std::string html;
  std::string attributes = {};  ///< with a leading blank
};

/// A table in a container that scrolls by itself. The first cell of each row is its heading.
/// `classes` of the table; `caption` is HTML.
std::string table(const std::string& caption, const std::vector<std::string>& head,
                  const std::vector<std::vector<Cell>>& rows, const std::string& classes = "");

/// <section> with a heading; `id` is its anchor.
std::string section(const std::string& id, const std::string& title, const std::string& content);

}  // namespace lockstep::report
