#include "optim/schedule_state.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "lockstep/base/error.h"

namespace lockstep::optim {

nlohmann::ordered_json number_to_json(double value) {
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  return value;
}

StateReader::StateReader(std::string_view text, std::string_view name) {
  // The callback refuses a key that appears twice, of which the parser would keep the last.
  bool duplicate = false;
  std::vector<std::string> keys;
  const auto watch = [&](int depth, nlohmann::json::parse_event_t event, nlohmann::json& parsed) {
    if (event == nlohmann::json::parse_event_t::key && depth == 1) {
      const auto& key = parsed.get_ref<const std::string&>();
      duplicate = duplicate || std::find(keys.begin(), keys.end(), key) != keys.end();
      keys.push_back(key);
    }
    return true;
  };
  object_ = nlohmann::json::parse(text, watch, /*allow_exceptions=*/false);
  if (!object_.is_object() || duplicate) {
    fail(ExitCode::kBadData,
         "schedule state: expected one JSON object without repeated keys, found '{}'",
         text.substr(0, 200));
  }
  const auto& found = at("name");
  if (found != name) {
    fail(ExitCode::kBadData, "schedule state: name is {}, expected \"{}\"", found.dump(), name);
  }
}

double StateReader::rate(const char* key) {
  const double value = number(key);
  if (!(value >= 0) || std::isinf(value)) {
    fail(ExitCode::kBadData, "schedule state: {} is {}, expected a finite number >= 0", key, value);
  }
  return value;
}

double StateReader::number(const char* key) {
  const auto& value = at(key);
  if (value == "inf") return std::numeric_limits<double>::infinity();
  if (value == "-inf") return -std::numeric_limits<double>::infinity();
  if (!value.is_number()) {
    fail(ExitCode::kBadData, "schedule state: {} is {}, expected a number", key, value.dump());
  }
  return value.get<double>();
}

int StateReader::count(const char* key) {
  const auto& value = at(key);
  if (!value.is_number_unsigned() ||
      value.get<std::uint64_t>() > std::uint64_t{std::numeric_limits<int>::max()}) {
    fail(ExitCode::kBadData, "schedule state: {} is {}, expected an integer from 0 to {}", key,
         value.dump(), std::numeric_limits<int>::max());
  }
  return value.get<int>();
}

void StateReader::finish() const {
  LOCKSTEP_CHECK(read_ <= object_.size(), "a key was read twice");
  if (read_ < object_.size()) {
    fail(ExitCode::kBadData, "schedule state: unknown keys in {}", object_.dump());
  }
}

const nlohmann::json& StateReader::at(const char* key) {
  const auto found = object_.find(key);
  if (found == object_.end()) fail(ExitCode::kBadData, "schedule state: {} is missing", key);
  ++read_;
  return *found;
}

}  // namespace lockstep::optim
