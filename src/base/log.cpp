#include "lockstep/base/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <memory>
#include <string>

namespace lockstep {

namespace {

spdlog::level::level_enum to_spdlog(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
    case LogLevel::kSilent:
      break;
  }
  return spdlog::level::off;
}

// The one piece of global state: which lines this process prints, and with what prefix.
std::shared_ptr<spdlog::logger>& logger() {
  static std::shared_ptr<spdlog::logger> instance = [] {
    auto made = std::make_shared<spdlog::logger>("lockstep",
                                                 std::make_shared<spdlog::sinks::stderr_sink_mt>());
    made->set_pattern("%v");
    return made;
  }();
  return instance;
}

std::string& rank_prefix() {
  static std::string prefix;
  return prefix;
}

}  // namespace

void init_logging(LogLevel level, int rank, int world_size) {
  const LogLevel own = rank == 0 || level > LogLevel::kWarning ? level : LogLevel::kWarning;
  logger()->set_level(to_spdlog(own));
  rank_prefix() = rank > 0 && world_size > 1 ? fmt::format("rank {}: ", rank) : "";
}

void log_line(LogLevel level, std::string_view message) {
  std::string_view mark;
  if (level == LogLevel::kWarning) mark = "warning: ";
  if (level == LogLevel::kError) mark = "error: ";
  logger()->log(to_spdlog(level), "{}{}{}", rank_prefix(), mark, message);
  if (level >= LogLevel::kWarning) logger()->flush();
}

}  // namespace lockstep
