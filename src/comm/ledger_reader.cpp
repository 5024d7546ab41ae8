#include <fmt/core.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>

#include "comm/ledger_format.h"
#include "lockstep/base/file.h"
#include "lockstep/comm/ledger.h"

namespace lockstep {

namespace {

template <std::size_t N>
std::string text_of(const std::array<char, N>& text) {
  return {text.begin(), std::find(text.begin(), text.end(), '\0')};
}

bool is_alive(const LedgerReading& reading) {
  char own_host[256] = "";
  ::gethostname(own_host, sizeof(own_host) - 1);
  if (reading.identity.host != std::string_view(own_host).substr(0, 63)) return false;
  return ::kill(reading.pid, 0) == 0 || errno == EPERM;
}

const LedgerEntry* last_issued(const LedgerReading& reading) {
  const auto entry = std::find_if(
      reading.entries.rbegin(), reading.entries.rend(),
      [](const LedgerEntry& e) { return e.event == LedgerEvent::kIssued && e.operation != 0; });
  return entry == reading.entries.rend() ? nullptr : &*entry;
}

bool has_finished(const LedgerReading& reading, std::uint64_t operation) {
  return std::any_of(reading.entries.begin(), reading.entries.end(), [&](const LedgerEntry& e) {
    return e.event == LedgerEvent::kFinished && e.operation == operation;
  });
}

std::string describe_entry(const LedgerEntry& entry) {
  return fmt::format("{} (operation {})",
                     describe(entry.kind, text_of(entry.name), entry.bucket, entry.step),
                     entry.operation);
}

std::string explain_one(const LedgerReading& reading, std::uint64_t front, std::int64_t now_ns,
                        const std::vector<int>& at_front) {
  std::string text = fmt::format("rank {} ({})", reading.identity.rank, reading.identity.host);
  if (reading.entries.empty()) return text + " has recorded nothing";
  const LedgerEntry& newest = reading.entries.back();
  const auto age = [&](const LedgerEntry& entry) {
    return static_cast<double>(std::max<std::int64_t>(now_ns - entry.time_ns, 0)) * 1e-9;
  };
  const LedgerEntry* issued = last_issued(reading);
  if (reading.exit_code) {
    text += fmt::format(" ended with exit code {} in phase {}", *reading.exit_code,
                        name_of(newest.phase));
    if (issued != nullptr) text += ", after " + describe_entry(*issued);
    return text;
  }
  if (!reading.process_alive) {
    text += fmt::format(" is gone (process {}), its last sign of life {:.1f} s ago in phase {}",
                        reading.pid, age(newest), name_of(newest.phase));
    if (issued != nullptr) {
      text += fmt::format(", {} {}", has_finished(reading, issued->operation) ? "after" : "in",
                          describe_entry(*issued));
    }
    return text;
  }
  const std::uint64_t own = reading.last_operation();
  if (own < front) {
    text += fmt::format(" is behind: in phase {}, its last sign of life {:.1f} s ago",
                        name_of(newest.phase), age(newest));
    text += issued != nullptr ? ", after " + describe_entry(*issued)
                              : std::string(", before any operation");
    return text + fmt::format("; {} reached operation {}", describe_ranks(at_front), front);
  }
  if (issued == nullptr) {
    return text + fmt::format(" is in phase {}, its last sign of life {:.1f} s ago",
                              name_of(newest.phase), age(newest));
  }
  if (!has_finished(reading, issued->operation)) {
    return text + fmt::format(" has been in {} for {:.1f} s, in phase {}", describe_entry(*issued),
                              age(*issued), name_of(newest.phase));
  }
  return text + fmt::format(" has finished {}, its last sign of life {:.1f} s ago in phase {}",
                            describe_entry(*issued), age(newest), name_of(newest.phase));
}

}  // namespace

std::uint64_t LedgerReading::last_operation() const {
  const LedgerEntry* issued = last_issued(*this);
  return issued != nullptr ? issued->operation : 0;
}

LedgerReading read_ledger(const std::filesystem::path& path) {
  // Read, not mapped: the writer may be alive, and the kernel copies what is there now.
  const std::vector<std::byte> bytes = read_file(path, std::uint64_t{1} << 20);
  if (bytes.size() != kLedgerBytes) {
    fail(ExitCode::kBadData, "{}: has {} bytes, a ledger has {}", path.string(), bytes.size(),
         kLedgerBytes);
  }
  LedgerHeader header;
  std::memcpy(&header, bytes.data(), sizeof(header));
  if (header.magic != kLedgerMagic) {
    fail(ExitCode::kBadData, "{}: is not a ledger: wrong magic at byte 0", path.string());
  }
  if (header.version != kLedgerVersion || header.capacity != Ledger::kCapacity) {
    fail(ExitCode::kBadData, "{}: ledger version {} with {} entries, expected version {} with {}",
         path.string(), header.version, header.capacity, kLedgerVersion, Ledger::kCapacity);
  }
  if (header.size < 1 || header.rank < 0 || header.rank >= header.size) {
    fail(ExitCode::kBadData, "{}: rank {} of {} is impossible", path.string(), header.rank,
         header.size);
  }
  LedgerReading reading;
  reading.path = path;
  reading.identity = {header.rank, header.size, text_of(header.host), header.job};
  reading.pid = header.pid;
  if (header.exit_code != kLedgerOpen) reading.exit_code = header.exit_code;
  reading.process_alive = !reading.exit_code && is_alive(reading);
  const std::uint64_t first =
      header.entries > Ledger::kCapacity ? header.entries - Ledger::kCapacity : 0;
  for (std::uint64_t i = first; i < header.entries; ++i) {
    LedgerEntry entry;
    std::memcpy(&entry, bytes.data() + sizeof(header) + (i % Ledger::kCapacity) * sizeof(entry),
                sizeof(entry));
    entry.name.back() = '\0';
    // The oldest may be being overwritten while this is read.
    if (entry.number == i + 1) reading.entries.push_back(entry);
  }
  return reading;
}

std::vector<LedgerReading> read_ledgers(const std::filesystem::path& directory,
                                        std::vector<std::string>& problems, std::uint64_t job) {
  std::vector<LedgerReading> readings;
  std::error_code error;
  for (std::filesystem::directory_iterator it(directory, error), end; !error && it != end;
       it.increment(error)) {
    if (it->path().filename().string().find("-rank-") == std::string::npos) continue;
    try {
      LedgerReading reading = read_ledger(it->path());
      if (job == 0 || reading.identity.job == job) readings.push_back(std::move(reading));
    } catch (const Error& failure) {
      problems.emplace_back(failure.what());
    }
  }
  if (error) {
    problems.push_back(
        fmt::format("{}: cannot be listed: {}", directory.string(), error.message()));
  }
  std::sort(readings.begin(), readings.end(), [](const LedgerReading& a, const LedgerReading& b) {
    return a.identity.rank < b.identity.rank;
  });
  return readings;
}

std::vector<std::string> explain(const std::vector<LedgerReading>& readings, std::int64_t now_ns) {
  std::uint64_t front = 0;
  int size = 0;
  for (const LedgerReading& reading : readings) {
    front = std::max(front, reading.last_operation());
    size = std::max(size, reading.identity.size);
  }
  std::vector<int> at_front;
  std::vector<bool> present(static_cast<std::size_t>(size), false);
  for (const LedgerReading& reading : readings) {
    if (reading.last_operation() == front) at_front.push_back(reading.identity.rank);
    present[static_cast<std::size_t>(reading.identity.rank)] = true;
  }
  std::vector<std::string> lines;
  for (const LedgerReading& reading : readings) {
    lines.push_back(explain_one(reading, front, now_ns, at_front));
  }
  std::vector<int> absent;
  for (int rank = 0; rank < size; ++rank) {
    if (!present[static_cast<std::size_t>(rank)]) absent.push_back(rank);
  }
  if (!absent.empty()) {
    lines.push_back(describe_ranks(absent) + (absent.size() == 1 ? " has" : " have") +
                    " no ledger here: on other hosts, ended in order, or never started");
  }
  return lines;
}

}  // namespace lockstep
