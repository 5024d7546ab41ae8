#include <fmt/core.h>

#include <algorithm>
#include <map>

#include "comm/ledger_position.h"

namespace lockstep {

namespace {

// How far the ranks of a world have come.
struct Front {
  std::uint64_t operation = 0;
  std::vector<int> ranks;
};

using Fronts = std::map<std::uint32_t, Front>;

std::uint64_t number_of(const Position& position) {
  return position.last != nullptr ? position.last->operation : 0;
}

// The worlds that the reading says anything of, the one it is in now first.
std::vector<std::uint32_t> worlds_of(const LedgerReading& reading) {
  std::vector<std::uint32_t> worlds;
  const auto add = [&](std::uint32_t world) {
    if (std::find(worlds.begin(), worlds.end(), world) == worlds.end()) worlds.push_back(world);
  };
  for (auto entry = reading.entries.rbegin(); entry != reading.entries.rend(); ++entry) {
    if (entry->operation != 0 || entry->event == LedgerEvent::kJoined) add(entry->world);
  }
  add(0);
  return worlds;
}

Fronts find_fronts(const std::vector<LedgerReading>& readings) {
  Fronts fronts;
  for (const LedgerReading& reading : readings) {
    for (const std::uint32_t world : worlds_of(reading)) {
      Front& front = fronts[world];
      const std::uint64_t own = reading.last_operation(world);
      if (own > front.operation) front = {own, {}};
      if (own == front.operation) front.ranks.push_back(reading.identity.rank);
    }
  }
  return fronts;
}

std::string describe_entry(const LedgerEntry& entry) {
  return fmt::format("{} (operation {}{})",
                     describe(entry.kind, entry.name.data(), entry.bucket, entry.step),
                     entry.operation, entry.world != 0 ? " of its part of the ranks" : "");
}

class Explainer {
 public:
  Explainer(const LedgerReading& reading, const Fronts& fronts, std::int64_t now_ns)
      : reading_(reading), fronts_(fronts), now_ns_(now_ns) {
    const std::vector<std::uint32_t> worlds = worlds_of(reading);
    here_ = position_in(reading, worlds.front());
    behind_ = here_;
    for (const std::uint32_t world : worlds) {
      behind_ = position_in(reading, world);
      if (number_of(behind_) < fronts.at(world).operation) break;
    }
  }

  // Others wait for it: in the world it is in, or in another while it waits for nobody.
  bool is_behind() const {
    const bool keeps_others = number_of(behind_) < fronts_.at(behind_.world).operation;
    return keeps_others && (behind_.world == here_.world || here_.waiting == nullptr);
  }

  std::string sentence() const {
    const std::string text =
        fmt::format("rank {} ({})", reading_.identity.rank, reading_.identity.host);
    if (reading_.signal) return text + by_signal() + " " + where();
    if (reading_.exit_code) {
      const std::string words = reading_.own_last_words();
      return text + fmt::format(" ended with exit code {}", *reading_.exit_code) + " " + where() +
             (words.empty() ? "" : ": " + words);
    }
    if (reading_.entries.empty()) return text + " has recorded nothing";
    if (reading_.vanished()) {
      return text +
             fmt::format(
                 " is gone (process {}) without a word, as after SIGKILL or for want "
                 "of memory; its last sign of life {}",
                 reading_.pid, age(reading_.entries.back())) +
             " " + where();
    }
    return text + halted() + alive();
  }

  // "in phase training of step 7, after ...".
  std::string where() const {
    if (reading_.entries.empty()) return "with nothing recorded";
    if (here_.waiting != nullptr) return phase() + ", in " + describe_entry(*here_.waiting);
    if (here_.last != nullptr) return phase() + ", after " + describe_entry(*here_.last);
    return phase() + ", before any operation";
  }

 private:
  // In floating point: any time may stand in the file.
  std::string age(const LedgerEntry& entry) const {
    return fmt::format(
        "{:.1f} s ago",
        std::max(static_cast<double>(now_ns_) - static_cast<double>(entry.time_ns), 0.0) * 1e-9);
  }

  // "in phase training of step 7": of the newest entry that has a step.
  std::string phase() const {
    const auto newest = std::find_if(reading_.entries.rbegin(), reading_.entries.rend(),
                                     [](const LedgerEntry& entry) { return entry.step >= 0; });
    const std::string name(name_of(reading_.entries.back().phase));
    if (newest == reading_.entries.rend()) return "in phase " + name;
    return fmt::format("in phase {} of step {}", name, newest->step);
  }

  std::string by_signal() const {
    const std::string name = signal_name(reading_.signal->number);
    if (reading_.signal->from_launcher) return fmt::format(" was ended by its launcher ({})", name);
    if (reading_.signal->sender != 0) {
      return fmt::format(" was ended by {} from process {}", name, reading_.signal->sender);
    }
    return fmt::format(" died of {}", name);
  }

  std::string halted() const {
    switch (reading_.process) {
      case ProcessState::kStopped:
        return " is stopped (SIGSTOP) and";
      case ProcessState::kTraced:
        return " is halted by a debugger and";
      case ProcessState::kUninterruptible:
        return " is in the kernel (uninterruptible input or output) and";
      default:
        return {};
    }
  }

  std::string alive() const {
    const LedgerEntry& newest = reading_.entries.back();
    if (is_behind()) {
      const Front& front = fronts_.at(behind_.world);
      std::string text =
          fmt::format(" is behind: {}, its last sign of life {}", phase(), age(newest));
      if (behind_.last == nullptr) {
        text += ", before any operation";
      } else {
        text += fmt::format(", {} {}", behind_.waiting != nullptr ? "in" : "after",
                            describe_entry(*behind_.last));
      }
      return text +
             fmt::format("; {} reached operation {}", describe_ranks(front.ranks), front.operation);
    }
    if (here_.waiting != nullptr) {
      return fmt::format(" has been in {} since {}, {}", describe_entry(*here_.waiting),
                         age(*here_.waiting), phase());
    }
    if (here_.last == nullptr) {
      return fmt::format(" is {}, its last sign of life {}", phase(), age(newest));
    }
    return fmt::format(" has finished {}, its last sign of life {}, {}",
                       describe_entry(*here_.last), age(newest), phase());
  }

  const LedgerReading& reading_;
  const Fronts& fronts_;
  std::int64_t now_ns_;
  Position here_;
  Position behind_;
};

// Ended by its own doing. 69 says that it was another's.
bool failed_by_itself(const LedgerReading& reading) {
  if (reading.vanished()) return true;
  if (reading.signal) return !reading.signal->from_launcher;
  return reading.exit_code && *reading.exit_code != static_cast<int>(ExitCode::kDone) &&
         *reading.exit_code != static_cast<int>(ExitCode::kUnavailable);
}

bool is_halted(const LedgerReading& reading) {
  return reading.process == ProcessState::kStopped || reading.process == ProcessState::kTraced;
}

}  // namespace

std::uint64_t LedgerReading::last_operation(std::uint32_t world) const {
  return number_of(position_in(*this, world));
}

std::string describe_position(const LedgerReading& reading) {
  const Fronts fronts = find_fronts({reading});
  return fmt::format("rank {} ({}), {}", reading.identity.rank, reading.identity.host,
                     Explainer(reading, fronts, 0).where());
}

Explanation examine(const std::vector<LedgerReading>& readings, std::int64_t now_ns) {
  const Fronts fronts = find_fronts(readings);
  Explanation explanation;
  std::vector<int> failed;
  std::vector<int> halted;
  std::vector<int> behind;
  std::vector<bool> present;
  for (const LedgerReading& reading : readings) {
    const Explainer explainer(reading, fronts, now_ns);
    const int rank = reading.identity.rank;
    explanation.lines.push_back(explainer.sentence());
    if (failed_by_itself(reading)) failed.push_back(rank);
    if (is_halted(reading)) halted.push_back(rank);
    if (explainer.is_behind()) behind.push_back(rank);
    present.resize(std::max(present.size(), static_cast<std::size_t>(reading.identity.size)));
    present[static_cast<std::size_t>(rank)] = true;
  }
  explanation.suspects = !failed.empty() ? failed : !halted.empty() ? halted : behind;
  for (std::size_t rank = 0; rank < present.size(); ++rank) {
    if (!present[rank]) explanation.absent.push_back(static_cast<int>(rank));
  }
  return explanation;
}

std::string describe_absent(const Explanation& explanation) {
  if (explanation.absent.empty()) return {};
  return describe_ranks(explanation.absent) + (explanation.absent.size() == 1 ? " has" : " have") +
         " no ledger here: on other hosts, ended in order, or never started";
}

std::vector<std::string> explain(const std::vector<LedgerReading>& readings, std::int64_t now_ns) {
  Explanation explanation = examine(readings, now_ns);
  if (std::string line = describe_absent(explanation); !line.empty()) {
    explanation.lines.push_back(std::move(line));
  }
  return std::move(explanation.lines);
}

}  // namespace lockstep
