// One JSON object of a run's files, whose members are taken out by name and kind.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace lockstep::report {

/// Every member function throws Error{kBadData} that names the place, the member, and what was
/// expected.
class JsonRecord {
 public:
  /// Parses `text`, which must be one object. `place`: the file, or file and line.
  JsonRecord(std::string_view text, const std::string& place);
  JsonRecord(nlohmann::json value, std::string place);

  bool has(std::string_view name) const { return value_.contains(name); }
  /// A whole number >= 0.
  std::int64_t count(std::string_view name) const;
  std::vector<std::int64_t> counts(std::string_view name) const;
  /// NaN for null, as records are written.
  double number(std::string_view name) const;
  std::vector<double> numbers(std::string_view name) const;
  bool flag(std::string_view name) const;
  std::string text(std::string_view name) const;
  std::vector<std::string> texts(std::string_view name) const;
  JsonRecord object(std::string_view name) const;
  /// Rows of whole numbers, as many as each row has.
  std::vector<std::vector<std::int64_t>> square(std::string_view name) const;
  const std::string& place() const { return place_; }

 private:
  const nlohmann::json& member(std::string_view name) const;
  const nlohmann::json& array(std::string_view name) const;
  [[noreturn]] void refuse(std::string_view name, std::string_view expected) const;

  nlohmann::json value_;
  std::string place_;
};

}  // namespace lockstep::report
