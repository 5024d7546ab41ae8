#include "lockstep/checkpoint/json.h"

#include <set>
#include <vector>

#include "lockstep/base/error.h"

namespace lockstep {

nlohmann::json parse_strict_json(std::string_view text, std::string_view origin, int max_depth) {
  using Json = nlohmann::json;
  // The parser takes a NUL for the end of its input, and skips a byte order mark.
  if (const auto nul = text.find('\0'); nul != std::string_view::npos) {
    fail(ExitCode::kBadData, "{}: a NUL byte at byte {} of its JSON", origin, nul);
  }
  if (text.substr(0, 3) == "\xEF\xBB\xBF") {
    fail(ExitCode::kBadData, "{}: a byte order mark before its JSON", origin);
  }

  std::vector<std::set<std::string>> open_objects;
  const auto check = [&](int depth, Json::parse_event_t event, Json& value) {
    switch (event) {
      case Json::parse_event_t::object_start:
        open_objects.emplace_back();
        [[fallthrough]];
      case Json::parse_event_t::array_start:
        if (depth >= max_depth) {
          fail(ExitCode::kBadData, "{}: its JSON is nested deeper than {} levels", origin,
               max_depth);
        }
        break;
      case Json::parse_event_t::object_end:
        open_objects.pop_back();
        break;
      case Json::parse_event_t::key:
        if (!open_objects.back().insert(value.get_ref<const std::string&>()).second) {
          fail(ExitCode::kBadData, "{}: its JSON has the key {} twice in one object", origin,
               printable(value.get_ref<const std::string&>()));
        }
        break;
      default:
        break;
    }
    return true;
  };
  try {
    return Json::parse(text.begin(), text.end(), check);
  } catch (const Json::parse_error& error) {
    fail(ExitCode::kBadData, "{}: is not valid JSON at byte {} of {}", origin, error.byte,
         text.size());
  } catch (const Json::out_of_range&) {
    fail(ExitCode::kBadData, "{}: its JSON has a number out of range", origin);
  }
}

std::string printable(std::string_view text) {
  constexpr std::size_t kLongest = 80;
  std::string result = nlohmann::json(text.substr(0, kLongest))
                           .dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
  if (text.size() > kLongest) result += "...";
  return result;
}

}  // namespace lockstep
