#include "comm/diagnosis.h"

#include <fmt/core.h>

#include <algorithm>
#include <exception>
#include <map>

#include "comm/world_impl.h"
#include "lockstep/base/clock.h"
#include "lockstep/base/error.h"

namespace lockstep {

namespace {

bool tells_of(const std::vector<LedgerReading>& readings, int rank) {
  return std::any_of(readings.begin(), readings.end(),
                     [&](const LedgerReading& reading) { return reading.identity.rank == rank; });
}

// All ranks say this at the same time, so each says it of a few: of those that matter first.
constexpr std::size_t kMostLines = 8;

std::string tell(const std::vector<LedgerReading>& readings, const Explanation& explanation,
                 const std::filesystem::path& directory) {
  std::vector<bool> told(readings.size());
  std::size_t count = 0;
  for (const bool suspects : {true, false}) {
    for (std::size_t i = 0; i < readings.size() && count < kMostLines; ++i) {
      const bool is_suspect =
          std::ranges::binary_search(explanation.suspects, readings[i].identity.rank);
      if (is_suspect != suspects) continue;
      told[i] = true;
      ++count;
    }
  }
  std::string text;
  std::vector<int> others;
  for (std::size_t i = 0; i < readings.size(); ++i) {
    if (told[i]) {
      text += "\n  " + explanation.lines[i];
    } else {
      others.push_back(readings[i].identity.rank);
    }
  }
  if (!others.empty()) {
    text += fmt::format("\n  {}: told by lockstep doctor --ledger {}", describe_ranks(others),
                        directory.string());
  }
  return text;
}

// "ranks 2, 3 (host)", host by host.
std::string name_members(const std::vector<ControlPlane::Member>& members) {
  std::map<std::string, std::vector<int>> by_host;
  for (const ControlPlane::Member& member : members)
    by_host[member.host].push_back(member.job_rank);
  std::string text;
  for (const auto& [host, ranks] : by_host) {
    text += fmt::format("{}{} ({})", text.empty() ? "" : ", ", describe_ranks(ranks), host);
  }
  return text;
}

}  // namespace

std::string diagnosis(const std::filesystem::path& ledger_directory, std::uint64_t job) noexcept {
  try {
    std::vector<std::string> problems;
    const auto readings = read_ledgers(ledger_directory, problems, job);
    const Explanation explanation = examine(readings, unix_nanoseconds());
    std::string text = tell(readings, explanation, ledger_directory);
    if (const std::string line = describe_absent(explanation); !line.empty()) text += "\n  " + line;
    for (const std::string& line : problems) text += "\n  " + line;
    return text;
  } catch (const std::exception&) {
    return {};  // the message that this would have adorned matters more
  }
}

std::vector<LedgerReading> World::Impl::read_own_ledgers() const noexcept {
  try {
    if (!process->ledger) return {};
    std::vector<std::string> ignored;
    return read_ledgers(process->ledger->path().parent_path(), ignored,
                        process->ledger->identity().job);
  } catch (const std::exception&) {
    return {};
  }
}

std::vector<Inquiry::Host> World::Impl::hosts_of(
    const std::function<bool(const ControlPlane::Member&)>& counts) const {
  std::map<std::string, Inquiry::Host> by_name;
  for (int rank = 0; rank < control->size(); ++rank) {
    const ControlPlane::Member& member = control->members()[static_cast<std::size_t>(rank)];
    if (!counts(member)) continue;
    Inquiry::Host& host = by_name[member.host];
    host.ranks.push_back(rank);
    host.members.push_back(member.job_rank);
  }
  std::vector<Inquiry::Host> hosts;
  hosts.reserve(by_name.size());
  for (auto& [name, host] : by_name) hosts.push_back(std::move(host));
  return hosts;
}

World::Impl::Findings World::Impl::find_out() noexcept {
  Findings findings;
  try {
    if (!process->ledger || !inquiry) return findings;
    pulse().feed_watchdog();
    std::vector<LedgerReading> readings = read_own_ledgers();
    const std::vector<Inquiry::Host> hosts = hosts_of(
        [&](const ControlPlane::Member& member) { return !tells_of(readings, member.job_rank); });
    const double seconds = std::clamp(pulse().seconds() / 4, 0.2, 2.0);
    for (LedgerReading& reading : inquiry->ask(hosts, seconds)) {
      if (!tells_of(readings, reading.identity.rank)) readings.push_back(std::move(reading));
    }
    std::sort(readings.begin(), readings.end(), [](const LedgerReading& a, const LedgerReading& b) {
      return a.identity.rank < b.identity.rank;
    });
    const Explanation explanation = examine(readings, unix_nanoseconds());
    std::vector<ControlPlane::Member> suspects;
    for (const int suspect : explanation.suspects) {
      for (const LedgerReading& reading : readings) {
        if (reading.identity.rank == suspect) suspects.push_back({reading.identity.host, suspect});
      }
    }
    std::vector<ControlPlane::Member> silent;
    for (const ControlPlane::Member& member : control->members()) {
      if (!tells_of(readings, member.job_rank)) silent.push_back(member);
    }
    findings.text = tell(readings, explanation, process->ledger->path().parent_path());
    if (!silent.empty()) {
      findings.text += fmt::format(
          "\n  {}: no answer within {:.1f} s: busy, stopped or dead, or the host or the network "
          "between has failed",
          name_members(silent), seconds);
    }
    if (!suspects.empty()) findings.suspects = "; waiting for " + name_members(suspects);
    if (!silent.empty()) findings.suspects += "; no word from " + name_members(silent);
  } catch (const std::exception&) {
    // The message that this would have adorned matters more.
  }
  return findings;
}

std::string World::position() const noexcept {
  try {
    if (impl_->process->ledger) {
      return describe_position(read_ledger(impl_->process->ledger->path()));
    }
  } catch (const std::exception&) {
    // Without a ledger the rank still has a name.
  }
  return impl_->control->name_rank(rank());
}

void World::Impl::give_up_waiting(const std::string& operation, double waited) {
  const Findings findings = find_out();
  fail(ExitCode::kUnavailable, "{}: not every rank has taken part within {:.1f} s, says {}{}{}",
       operation, waited, control->name_rank(control->rank()), findings.suspects, findings.text);
}

}  // namespace lockstep
