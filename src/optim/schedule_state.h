// A schedule's state as JSON: numbers by their shortest text that reads back to the same bits.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace lockstep::optim {

/// JSON has no infinities: they are written as "inf" and "-inf".
nlohmann::ordered_json number_to_json(double value);

/// Reads a state: every get names a key that must be there; finish() refuses keys nobody asked for.
/// All throw Error{kBadData}.
class StateReader {
 public:
  /// Requires an object whose "name" is `name`.
  StateReader(std::string_view text, std::string_view name);
  /// A finite number >= 0.
  double rate(const char* key);
  /// Any number but NaN.
  double number(const char* key);
  /// An integer in 0..INT_MAX.
  int count(const char* key);
  void finish() const;

 private:
  const nlohmann::json& at(const char* key);
  nlohmann::json object_;
  std::size_t read_ = 0;
};

}  // namespace lockstep::optim
