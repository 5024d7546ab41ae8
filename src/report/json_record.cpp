#include "report/json_record.h"

#include <limits>
#include <utility>

#include "lockstep/base/error.h"
#include "lockstep/checkpoint/json.h"

namespace lockstep::report {

namespace {

using nlohmann::json;

bool is_count(const json& value) {
  return value.is_number_unsigned() && std::in_range<std::int64_t>(value.get<std::uint64_t>());
}

bool is_number(const json& value) { return value.is_number() || value.is_null(); }

double to_number(const json& value) {
  return value.is_null() ? std::numeric_limits<double>::quiet_NaN() : value.get<double>();
}

}  // namespace

JsonRecord::JsonRecord(std::string_view text, const std::string& place)
    : JsonRecord(parse_strict_json(text, place), place) {}

JsonRecord::JsonRecord(json value, std::string place)
    : value_(std::move(value)), place_(std::move(place)) {
  if (!value_.is_object()) fail(ExitCode::kBadData, "{}: expected an object", place_);
}

void JsonRecord::refuse(std::string_view name, std::string_view expected) const {
  fail(ExitCode::kBadData, "{}: {}: expected {}", place_, name, expected);
}

const json& JsonRecord::member(std::string_view name) const {
  const auto found = value_.find(name);
  if (found == value_.end()) fail(ExitCode::kBadData, "{}: {} is missing", place_, name);
  return *found;
}

const json& JsonRecord::array(std::string_view name) const {
  const json& value = member(name);
  if (!value.is_array()) refuse(name, "an array");
  return value;
}

std::int64_t JsonRecord::count(std::string_view name) const {
  const json& value = member(name);
  if (!is_count(value)) refuse(name, "a whole number >= 0");
  return value.get<std::int64_t>();
}

std::vector<std::int64_t> JsonRecord::counts(std::string_view name) const {
  std::vector<std::int64_t> values;
  for (const json& value : array(name)) {
    if (!is_count(value)) refuse(name, "whole numbers >= 0");
    values.push_back(value.get<std::int64_t>());
  }
  return values;
}

double JsonRecord::number(std::string_view name) const {
  const json& value = member(name);
  if (!is_number(value)) refuse(name, "a number");
  return to_number(value);
}

std::vector<double> JsonRecord::numbers(std::string_view name) const {
  std::vector<double> values;
  for (const json& value : array(name)) {
    if (!is_number(value)) refuse(name, "numbers");
    values.push_back(to_number(value));
  }
  return values;
}

bool JsonRecord::flag(std::string_view name) const {
  const json& value = member(name);
  if (!value.is_boolean()) refuse(name, "true or false");
  return value.get<bool>();
}

std::string JsonRecord::text(std::string_view name) const {
  const json& value = member(name);
  if (!value.is_string()) refuse(name, "text");
  return value.get<std::string>();
}

std::vector<std::string> JsonRecord::texts(std::string_view name) const {
  std::vector<std::string> values;
  for (const json& value : array(name)) {
    if (!value.is_string()) refuse(name, "texts");
    values.push_back(value.get<std::string>());
  }
  return values;
}

JsonRecord JsonRecord::object(std::string_view name) const {
  const json& value = member(name);
  if (!value.is_object()) refuse(name, "an object");
  return {value, place_ + ": " + std::string(name)};
}

std::vector<std::vector<std::int64_t>> JsonRecord::square(std::string_view name) const {
  std::vector<std::vector<std::int64_t>> rows;
  for (const json& row : array(name)) {
    if (!row.is_array() || row.size() != array(name).size())
      refuse(name, "as many columns as rows");
    rows.emplace_back();
    for (const json& value : row) {
      if (!is_count(value)) refuse(name, "rows of whole numbers >= 0");
      rows.back().push_back(value.get<std::int64_t>());
    }
  }
  if (rows.empty()) refuse(name, "at least one class");
  return rows;
}

}  // namespace lockstep::report
