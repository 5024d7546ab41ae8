// One value: its text, its check, and the words for what it may be.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cmath>
#include <concepts>
#include <system_error>
#include <type_traits>

#include "cli/settings_table.h"
#include "lockstep/base/text.h"

namespace lockstep {

namespace {

template <typename T>
concept Number = std::is_arithmetic_v<T> && !std::same_as<T, bool>;

std::string to_text(bool value) { return value ? "true" : "false"; }
std::string to_text(const std::string& value) { return value; }
std::string to_text(const std::filesystem::path& value) { return value.string(); }
template <Number T>
std::string to_text(T value) {
  return fmt::format("{}", value);
}

std::string bound_text(double bound) {
  return std::abs(bound) < 1e6 ? fmt::format("{}", bound) : fmt::format("{:g}", bound);
}

std::string join(std::span<const std::string> words) {
  return fmt::format("{}", fmt::join(words, ", "));
}

std::string hint(std::string_view word, std::span<const std::string> candidates) {
  const std::string near = nearest(word, candidates);
  return near.empty() ? "" : fmt::format("; did you mean {}?", near);
}

std::optional<std::string> assign(const Setting&, std::string_view text, bool& value) {
  constexpr std::array<std::string_view, 4> kYes{"true", "yes", "on", "1"};
  constexpr std::array<std::string_view, 4> kNo{"false", "no", "off", "0"};
  if (std::ranges::find(kYes, text) != kYes.end()) {
    value = true;
  } else if (std::ranges::find(kNo, text) != kNo.end()) {
    value = false;
  } else {
    return "must be yes or no (also true or false, on or off, 1 or 0)";
  }
  return std::nullopt;
}

template <Number T>
std::optional<std::string> assign(const Setting& setting, std::string_view text, T& value) {
  // from_chars calls -1 malformed where the type has no sign; to a person it is out of range.
  const bool below_zero = std::unsigned_integral<T> && text.starts_with('-');
  if (below_zero) text.remove_prefix(1);
  T parsed{};
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, parsed);
  if (stop != end || error == std::errc::invalid_argument) {
    return fmt::format("must be {}", expectation(setting));
  }
  const auto number = static_cast<double>(parsed);
  if (error != std::errc{} || below_zero || !std::isfinite(number) ||
      !setting.range.contains(number)) {
    return fmt::format("is out of range: must be {}", expectation(setting));
  }
  value = parsed;
  return std::nullopt;
}

std::optional<std::string> check_text(const Setting& setting, std::string_view text) {
  if (text.empty() && setting.empty_means.empty()) {
    return fmt::format("a value is missing: must be {}", expectation(setting));
  }
  const auto control = [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; };
  if (std::ranges::any_of(text, control)) return "contains a control character";
  if (auto problem = utf8_problem(text)) return problem;
  if (!setting.choices.empty() &&
      std::ranges::find(setting.choices, text) == setting.choices.end()) {
    return fmt::format("must be one of {}{}", join(setting.choices), hint(text, setting.choices));
  }
  return std::nullopt;
}

template <typename T>
requires std::same_as<T, std::string> || std::same_as<T, std::filesystem::path>
    std::optional<std::string> assign(const Setting& setting, std::string_view text, T& value) {
  auto problem = check_text(setting, text);
  if (!problem) value = T(text);
  return problem;
}

}  // namespace

std::optional<std::string> utf8_problem(std::string_view text) {
  const auto at = find_invalid_utf8(text);
  if (!at) return std::nullopt;
  // The records, which are JSON, could not hold it.
  return fmt::format("is not UTF-8: byte {} of it is 0x{:02X}", *at + 1,
                     static_cast<unsigned char>(text[*at]));
}

bool has_meaning(const Setting& setting, const Settings& settings) {
  return std::ranges::find(settings.meaningless, setting.name) == settings.meaningless.end();
}

std::string value_text(const Setting& setting, const Settings& settings) {
  return std::visit([&](const auto& field) { return to_text(field.see(settings)); }, setting.field);
}

std::string default_text(const Setting& setting) {
  const std::string text = value_text(setting, Settings{});
  if (is_flag(setting)) return text == "true" ? "yes" : "no";
  return text.empty() ? setting.empty_means : text;
}

std::optional<std::string> set_value(const Setting& setting, std::string_view text,
                                     Settings& settings) {
  return std::visit([&](const auto& field) { return assign(setting, text, field.get(settings)); },
                    setting.field);
}

bool is_flag(const Setting& setting) { return std::holds_alternative<Field<bool>>(setting.field); }

std::string value_name(const Setting& setting) {
  if (!setting.choices.empty()) return fmt::format("{}", fmt::join(setting.choices, "|"));
  return std::visit(
      []<typename T>(const Field<T>&) -> std::string {
        if constexpr (std::same_as<T, bool>) return "yes|no";
        if constexpr (std::same_as<T, std::string>) return "TEXT";
        if constexpr (std::same_as<T, std::filesystem::path>) return "PATH";
        return std::floating_point<T> ? "NUMBER" : "N";
      },
      setting.field);
}

std::string range_text(const Setting& setting) {
  if (!setting.choices.empty()) return join(setting.choices);
  if (is_flag(setting)) return "yes, no";
  const ValueRange& range = setting.range;
  if (!std::isfinite(range.least)) return "";
  const std::string least = bound_text(range.least);
  if (!std::isfinite(range.most)) {
    return fmt::format("{} {}", range.least_excluded ? ">" : ">=", least);
  }
  const std::string most = bound_text(range.most);
  if (!range.least_excluded && !range.most_excluded) return fmt::format("{} to {}", least, most);
  return fmt::format("{}{}, {}{}", range.least_excluded ? '(' : '[', least, most,
                     range.most_excluded ? ')' : ']');
}

std::string expectation(const Setting& setting) {
  if (!setting.choices.empty()) return "one of " + range_text(setting);
  return std::visit(
      [&]<typename T>(const Field<T>&) -> std::string {
        if constexpr (std::same_as<T, bool>) return "yes or no";
        if constexpr (std::same_as<T, std::string>) return "a text";
        if constexpr (std::same_as<T, std::filesystem::path>) return "a path";
        const std::string range = range_text(setting);
        const char* const word = range.starts_with('>')   ? ""
                                 : std::isdigit(range[0]) ? "from "
                                                          : "in ";
        return fmt::format("{} {}{}", std::floating_point<T> ? "a number" : "an integer", word,
                           range);
      },
      setting.field);
}

}  // namespace lockstep
