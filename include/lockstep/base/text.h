// Small text helpers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace lockstep {

/// The candidate with the smallest edit distance (Levenshtein, with transpositions) to `word`, or
/// empty when none is near enough (more than a third of the word's letters wrong).
std::string nearest(std::string_view word, std::span<const std::string> candidates);

/// Where the first byte lies that does not belong to well-formed UTF-8 (The Unicode Standard, table
/// 3-7); none when all do.
std::optional<std::size_t> find_invalid_utf8(std::string_view text);

/// The text with a '?' for each such byte.
std::string with_valid_utf8(std::string text);

/// `text` and a line break, broken at blanks so that lines have at most `columns` columns where the
/// words fit; all lines but the first are indented by `indent`. A line break in it stays one.
std::string wrapped(std::string_view text, std::size_t indent, std::size_t columns);

/// "3.5 MiB", "887 B".
std::string format_bytes(std::uint64_t bytes);
/// "1 h 02 min", "3 min 20 s", "4.2 s"; "unknown" for what is not finite.
std::string format_duration(double seconds);
/// 1234567 -> "1,234,567".
std::string format_count(std::int64_t count);

}  // namespace lockstep
