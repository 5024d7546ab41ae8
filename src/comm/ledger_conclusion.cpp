#include "lockstep/comm/ledger_conclusion.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <system_error>
#include <utility>

#include "comm/ledger_position.h"

namespace lockstep {

namespace {

namespace fs = std::filesystem;

using Readings = std::vector<const LedgerReading*>;

bool is_ledger_name(const std::string& name) {
  const std::size_t at = name.rfind("-rank-");
  return at != std::string::npos && at + 6 < name.size() &&
         name.find_first_not_of("0123456789", at + 6) == std::string::npos;
}

std::vector<int> ranks_of(const Readings& readings) {
  std::vector<int> ranks;
  for (const LedgerReading* reading : readings) ranks.push_back(reading->identity.rank);
  return ranks;
}

// "rank 3 (node2)", "ranks 1, 2 (node1, node2)".
std::string name_ranks(const Readings& readings) {
  std::vector<std::string> hosts;
  for (const LedgerReading* reading : readings) hosts.push_back(reading->identity.host);
  std::sort(hosts.begin(), hosts.end());
  hosts.erase(std::unique(hosts.begin(), hosts.end()), hosts.end());
  return fmt::format("{} ({})", describe_ranks(ranks_of(readings)), fmt::join(hosts, ", "));
}

std::string where(const LedgerPosition& position) {
  if (!position.phase) return "before it recorded anything";
  if (position.waiting) return "in " + position.operation;
  std::string text = fmt::format("in phase {}", name_of(*position.phase));
  const std::string step = position.step ? fmt::format(" of step {}", *position.step) : "";
  if (!position.operation.ends_with(step)) text += step;  // else the operation says it
  if (position.operation.empty()) return text + ", before any operation";
  return text + ", after " + position.operation;
}

// Its ledger is a copy from another host, and does not say that it ended.
bool is_silent(const LedgerReading& reading) {
  return reading.process == ProcessState::kUnknown && !reading.exit_code && !reading.signal;
}

bool has_ended(const LedgerReading& reading) { return reading.exit_code || reading.signal; }

// What has become of a rank, and for an ending of its own, why.
std::string fate(const LedgerReading& reading) {
  if (reading.signal) {
    return fmt::format("{} {}", reading.signal->sender != 0 ? "was ended by" : "died of",
                       signal_name(reading.signal->number));
  }
  if (reading.exit_code) {
    const auto code = static_cast<ExitCode>(*reading.exit_code);
    return fmt::format("ended with exit code {} ({})", *reading.exit_code, describe(code));
  }
  switch (reading.process) {
    case ProcessState::kGone:
      return "died without a word (SIGKILL or want of memory)";
    case ProcessState::kUnknown:
      return "left no word";
    case ProcessState::kStopped:
      return "is stopped (SIGSTOP)";
    case ProcessState::kTraced:
      return "is halted by a debugger";
    default:
      return "is behind";
  }
}

// Who was behind when the first rank gave up waiting may have caught up since: a stopped one goes
// on once the launcher that ends it lets it. So without what was recorded later, on that rank's
// host: the clocks of others may differ.
std::vector<LedgerReading> as_of_the_first_failure(const std::vector<LedgerReading>& readings) {
  const LedgerReading* first = nullptr;
  for (const LedgerReading& reading : readings) {
    const bool gave_up = reading.exit_code == static_cast<int>(ExitCode::kUnavailable) &&
                         position_of(reading).waiting;
    if (gave_up && reading.end_ns > 0 && (first == nullptr || reading.end_ns < first->end_ns)) {
      first = &reading;
    }
  }
  std::vector<LedgerReading> result = readings;
  if (first == nullptr) return result;
  for (LedgerReading& reading : result) {
    if (reading.identity.host != first->identity.host) continue;
    std::erase_if(reading.entries,
                  [&](const LedgerEntry& entry) { return entry.time_ns > first->end_ns; });
  }
  return result;
}

class Job {
 public:
  Job(std::vector<LedgerReading> readings_of_job, std::int64_t now_ns)
      : readings_(std::move(readings_of_job)) {
    const std::vector<LedgerReading>& readings = readings_;
    const Explanation explanation = examine(readings, now_ns);
    absent_ = explanation.absent;
    for (const LedgerReading& reading : readings) {
      all_.push_back(&reading);
      if (position_of(reading).waiting) waiting_.push_back(&reading);
      if (std::find(explanation.suspects.begin(), explanation.suspects.end(),
                    reading.identity.rank) != explanation.suspects.end()) {
        causes_.push_back(&reading);
      }
    }
    // A copy cannot tell that its process is gone: but if others have ended, it has too.
    const bool over = std::any_of(readings.begin(), readings.end(), has_ended);
    const bool known = std::any_of(causes_.begin(), causes_.end(), [](const LedgerReading* r) {
      return has_ended(*r) || r->process != ProcessState::kUnknown;
    });
    if (over && !known) {
      Readings silent;
      for (const LedgerReading* reading : all_) {
        if (is_silent(*reading)) silent.push_back(reading);
      }
      if (causes_.empty()) causes_ = silent;
    }
    // All are gone: the first to go did not wait, while the others waited for it.
    if (causes_.size() == all_.size()) {
      Readings busy;
      for (const LedgerReading* reading : causes_) {
        if (!position_of(*reading).waiting) busy.push_back(reading);
      }
      if (!busy.empty()) causes_ = busy;
    }
  }

  std::string conclude() const {
    if (all_.empty()) return "there is no ledger";
    if (!causes_.empty()) return describe_causes();
    if (!waiting_.empty() && !absent_.empty()) {
      return fmt::format("{} waited {} for {}, without a ledger here", name_ranks(waiting_),
                         where(position_of(*waiting_.front())), describe_ranks(absent_));
    }
    std::map<std::string, Readings> by_state;
    for (const LedgerReading* reading : all_) {
      by_state[fmt::format("{} {}", has_ended(*reading) ? fate(*reading) : state(*reading),
                           where(position_of(*reading)))]
          .push_back(reading);
    }
    return join(by_state);
  }

 private:
  static std::string state(const LedgerReading& reading) {
    return reading.alive() ? "at work" : "last seen";
  }

  static std::string join(const std::map<std::string, Readings>& groups) {
    std::vector<std::pair<int, std::string>> parts;
    parts.reserve(groups.size());
    for (const auto& [text, readings] : groups) {
      parts.emplace_back(readings.front()->identity.rank, name_ranks(readings) + " " + text);
    }
    std::sort(parts.begin(), parts.end());
    std::string text;
    for (const auto& [rank, part] : parts) text += (text.empty() ? "" : "; ") + part;
    return text;
  }

  std::string describe_causes() const {
    std::map<std::string, Readings> by_fate;
    for (const LedgerReading* reading : causes_) {
      const LedgerPosition position = position_of(*reading);
      // A cause that the launcher has ended is one that the others had waited for.
      const bool behind = reading->signal && reading->signal->from_launcher;
      std::string text =
          fmt::format("{} {}", behind ? "was behind" : fate(*reading), where(position));
      const std::string words = reading->own_last_words();
      if (!words.empty()) text += ": " + words;
      by_fate[text].push_back(reading);
    }
    std::string text = join(by_fate);
    Readings others;
    for (const LedgerReading* reading : waiting_) {
      if (std::find(causes_.begin(), causes_.end(), reading) == causes_.end()) {
        others.push_back(reading);
      }
    }
    if (others.empty()) return text;
    text += fmt::format("; {} waited for {}", describe_ranks(ranks_of(others)),
                        causes_.size() == 1 ? "it" : "them");
    const std::string there = where(position_of(*others.front()));
    return there == where(position_of(*causes_.front())) ? text : text + " " + there;
  }

  std::vector<LedgerReading> readings_;
  Readings all_;     // by rank, as the others
  Readings causes_;  // who failed first, is stopped or is behind
  Readings waiting_;
  std::vector<int> absent_;
};

void find_in(const fs::path& directory, int depth, std::vector<LedgerReading>& readings,
             std::vector<std::string>& problems) {
  std::error_code error;
  fs::directory_iterator it(directory, fs::directory_options::skip_permission_denied, error);
  for (; !error && it != fs::directory_iterator(); it.increment(error)) {
    const fs::path& path = it->path();
    std::error_code ignored;
    const fs::file_status status = it->symlink_status(ignored);
    if (fs::is_directory(status)) {
      if (depth > 0) find_in(path, depth - 1, readings, problems);
    } else if (is_ledger_name(path.filename().string())) {
      try {
        if (!fs::is_regular_file(status)) fail(ExitCode::kBadData, "{}: no file", path.string());
        readings.push_back(read_ledger(path));
      } catch (const Error& failure) {
        problems.emplace_back(failure.what());
      }
    }
  }
  // Below the directory that was asked for, one may vanish while its job ends.
}

}  // namespace

LedgerPosition position_of(const LedgerReading& reading) {
  LedgerPosition position;
  if (reading.entries.empty()) return position;
  position.phase = reading.entries.back().phase;
  std::optional<std::uint32_t> world;
  for (auto entry = reading.entries.rbegin(); entry != reading.entries.rend(); ++entry) {
    if (!position.step && entry->step >= 0) position.step = entry->step;
    if (!world && entry->operation != 0) world = entry->world;
  }
  if (!world) return position;
  const Position in_world = position_in(reading, *world);
  position.waiting = in_world.waiting != nullptr;
  if (const LedgerEntry* named = position.waiting ? in_world.waiting : in_world.last) {
    position.operation = describe(named->kind, named->name.data(), named->bucket, named->step);
  }
  return position;
}

std::string conclude(const std::vector<LedgerReading>& readings, std::int64_t now_ns) {
  return Job(as_of_the_first_failure(readings), now_ns).conclude();
}

std::int64_t LedgeredJob::newest_ns() const {
  std::int64_t newest = 0;
  for (const LedgerReading& reading : readings) {
    if (!reading.entries.empty()) newest = std::max(newest, reading.entries.back().time_ns);
  }
  return newest;
}

std::vector<LedgeredJob> find_jobs(const fs::path& directory, std::vector<std::string>& problems) {
  std::error_code error;
  if (fs::directory_iterator probe(directory, error); error) {
    fail(ExitCode::kInputMissing, "{}: cannot be listed: {}", directory.string(), error.message());
  }
  std::vector<LedgerReading> readings;
  find_in(directory, 2, readings, problems);
  // A copy may lie beside its original: of one rank's ledgers the one that goes further counts.
  const auto key = [](const LedgerReading& r) {
    return std::pair(r.identity.job, r.identity.rank);
  };
  const auto length = [](const LedgerReading& r) {
    return r.entries.empty() ? std::uint64_t{0} : r.entries.back().number;
  };
  std::sort(readings.begin(), readings.end(), [&](const LedgerReading& a, const LedgerReading& b) {
    return key(a) != key(b) ? key(a) < key(b) : length(a) > length(b);
  });
  std::vector<LedgeredJob> jobs;
  for (LedgerReading& reading : readings) {
    if (jobs.empty() || jobs.back().job != reading.identity.job) {
      jobs.push_back({reading.identity.job, {}});
    }
    std::vector<LedgerReading>& of_job = jobs.back().readings;
    if (!of_job.empty() && of_job.back().identity.rank == reading.identity.rank) continue;
    of_job.push_back(std::move(reading));
  }
  std::stable_sort(jobs.begin(), jobs.end(), [](const LedgeredJob& a, const LedgeredJob& b) {
    return a.newest_ns() > b.newest_ns();
  });
  return jobs;
}

}  // namespace lockstep
