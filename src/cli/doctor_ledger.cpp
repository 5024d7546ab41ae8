#include "doctor_ledger.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <time.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "lockstep/base/clock.h"
#include "lockstep/base/error.h"
#include "lockstep/base/text.h"
#include "lockstep/comm/ledger_conclusion.h"

namespace lockstep {

namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kMostOtherJobs = 5;
constexpr std::size_t kMostProblems = 5;
constexpr const char* kRow = "{:<5}{:<13} {:<10}{:>8}{:>9}  {:<13}{}\n";

// One word, for programs.
std::string state_word(const LedgerReading& reading) {
  if (reading.signal) return reading.signal->from_launcher ? "ended by launcher" : "signalled";
  if (reading.exit_code) return "ended";
  switch (reading.process) {
    case ProcessState::kUnknown:
      return "unknown";
    case ProcessState::kGone:
      return "gone";
    case ProcessState::kAlive:
      return "alive";
    case ProcessState::kUninterruptible:
      return "in the kernel";
    case ProcessState::kStopped:
      return "stopped";
    case ProcessState::kTraced:
      return "traced";
  }
  return "unknown";
}

std::string state_text(const LedgerReading& reading) {
  if (reading.signal && reading.signal->from_launcher) return "by launcher";
  if (reading.signal) return fmt::format("signal {}", reading.signal->number);
  if (reading.exit_code) return fmt::format("exit code {}", *reading.exit_code);
  return state_word(reading);
}

std::string phase_text(const LedgerReading& reading) {
  return reading.entries.empty() ? "-" : std::string(name_of(reading.entries.back().phase));
}

std::string utc_text(std::int64_t time_ns) {
  const time_t seconds = time_ns / 1'000'000'000;
  tm parts{};
  ::gmtime_r(&seconds, &parts);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", parts.tm_year + 1900, parts.tm_mon + 1,
                     parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec);
}

double seconds_between(std::int64_t from_ns, std::int64_t to_ns) {
  return 1e-9 * static_cast<double>(to_ns - from_ns);
}

std::vector<int> ranks_without_ledger(const LedgeredJob& job) {
  std::vector<int> missing;
  std::set<int> present;
  for (const LedgerReading& reading : job.readings) present.insert(reading.identity.rank);
  for (int rank = 0; rank < job.readings.front().identity.size; ++rank) {
    if (!present.contains(rank)) missing.push_back(rank);
  }
  return missing;
}

std::set<std::string> directories_of(const LedgeredJob& job) {
  std::set<std::string> directories;
  for (const LedgerReading& reading : job.readings) {
    directories.insert(reading.path.parent_path().string());
  }
  return directories;
}

std::string rank_line(const LedgerReading& reading, std::int64_t newest_ns) {
  const LedgerPosition position = position_of(reading);
  const std::string silent =
      reading.entries.empty()
          ? "-"
          : fmt::format("{:.1f} s", seconds_between(reading.entries.back().time_ns, newest_ns));
  // The step has a column of its own.
  const std::string operation = position.operation.substr(0, position.operation.find(" of step "));
  return fmt::format(kRow, reading.identity.rank, reading.identity.host, phase_text(reading),
                     position.step ? std::to_string(*position.step) : "-", silent,
                     state_text(reading),
                     operation.empty() ? "-" : (position.waiting ? "in " : "after ") + operation);
}

// Why ranks ended, in their own words.
std::string last_words(const LedgeredJob& job) {
  std::string text;
  for (const LedgerReading& reading : job.readings) {
    if (reading.last_words.empty()) continue;
    text += fmt::format("  rank {}: {}\n", reading.identity.rank, reading.last_words);
  }
  return text.empty() ? "" : "last words:\n" + text;
}

// Names in a ledger may be anything; a terminal must not take them for commands.
std::string printable(std::string text) {
  std::ranges::replace_if(
      text, [](char c) { return (c >= 0 && c < ' ' && c != '\n') || c == 0x7f; }, '?');
  return text;
}

std::string text_of(const std::vector<LedgeredJob>& jobs,
                    const std::vector<std::string>& problems) {
  const LedgeredJob& job = jobs.front();
  const std::int64_t newest = job.newest_ns();
  std::string text = conclude(job.readings, unix_nanoseconds()) + "\n\n";
  text += fmt::format("job {:016x} of {} ranks, last sign of life {} ({} ago), in {}\n", job.job,
                      job.readings.front().identity.size, utc_text(newest),
                      format_duration(unix_seconds() - 1e-9 * static_cast<double>(newest)),
                      fmt::join(directories_of(job), ", "));
  text += '\n';
  text += fmt::format(kRow, "rank", "host", "phase", "step", "silent", "state", "last operation");
  for (const LedgerReading& reading : job.readings) text += rank_line(reading, newest);
  if (const auto missing = ranks_without_ledger(job); !missing.empty()) {
    text += fmt::format("{}: no ledger here: on another host, ended in order, or never started\n",
                        describe_ranks(missing));
  }
  text += last_words(job);
  for (std::size_t i = 0; i < problems.size() && i < kMostProblems; ++i) {
    text += fmt::format("not read: {}\n", problems[i]);
  }
  if (problems.size() > kMostProblems) {
    text += fmt::format("not read: {} more\n", problems.size() - kMostProblems);
  }
  if (jobs.size() > 1) text += "\nolder jobs:\n";
  for (std::size_t i = 1; i < jobs.size() && i <= kMostOtherJobs; ++i) {
    text += fmt::format("  {} {}: {}\n", utc_text(jobs[i].newest_ns()),
                        fmt::join(directories_of(jobs[i]), ", "),
                        conclude(jobs[i].readings, unix_nanoseconds()));
  }
  if (jobs.size() > kMostOtherJobs + 1) {
    text += fmt::format("  and {} more\n", jobs.size() - kMostOtherJobs - 1);
  }
  return text;
}

Json job_json(const LedgeredJob& job) {
  Json json{{"conclusion", conclude(job.readings, unix_nanoseconds())},
            {"job", fmt::format("{:016x}", job.job)},
            {"directories", directories_of(job)},
            {"last_sign_of_life", utc_text(job.newest_ns())},
            {"size", job.readings.front().identity.size},
            {"ranks", Json::array()},
            {"ranks_without_ledger", ranks_without_ledger(job)}};
  for (const LedgerReading& reading : job.readings) {
    const LedgerPosition position = position_of(reading);
    Json rank{{"rank", reading.identity.rank},
              {"host", reading.identity.host},
              {"process", reading.pid},
              {"state", state_word(reading)},
              {"exit_code", reading.exit_code ? Json(*reading.exit_code) : Json()},
              {"signal", reading.signal ? Json(reading.signal->number) : Json()},
              {"message", reading.last_words},
              {"phase", phase_text(reading)},
              {"step", position.step ? Json(*position.step) : Json()},
              {"operation", position.operation},
              {"waiting", position.waiting},
              {"last_sign_of_life", Json()}};
    if (!reading.entries.empty()) {
      rank["last_sign_of_life"] = seconds_between(0, reading.entries.back().time_ns);
    }
    json["ranks"].push_back(rank);
  }
  return json;
}

}  // namespace

std::string explain_ledgers(const std::filesystem::path& directory, bool json) {
  std::vector<std::string> problems;
  const std::vector<LedgeredJob> jobs = find_jobs(directory, problems);
  if (jobs.empty() && problems.empty()) {
    fail(ExitCode::kInputMissing,
         "{}: holds no ledger; a job's are in --ledger-dir, or in "
         "lockstep-<user>-<job> below $TMPDIR or /tmp, and are removed when it ends in order",
         directory.string());
  }
  if (jobs.empty()) {
    fail(ExitCode::kBadData, "{}: holds no ledger that can be read:\n  {}", directory.string(),
         fmt::join(problems, "\n  "));
  }
  if (!json) return printable(text_of(jobs, problems));
  Json object = job_json(jobs.front());
  object["problems"] = problems;
  object["older_jobs"] = Json::array();
  for (std::size_t i = 1; i < jobs.size(); ++i) object["older_jobs"].push_back(job_json(jobs[i]));
  return object.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace lockstep
