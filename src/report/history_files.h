// The files of a run directory, each by itself. `origin` is for messages.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "lockstep/report/history.h"

namespace lockstep::report {

/// config.ini.
std::vector<Setting> parse_settings_file(std::string_view text, const std::string& origin);
/// metrics.jsonl.
void read_metrics(std::string_view text, const std::string& origin, History& history);
/// decisions.jsonl.
void read_decisions(std::string_view text, const std::string& origin, History& history);
/// launch.json.
Launch parse_launch(std::string_view text, const std::string& origin);

}  // namespace lockstep::report
