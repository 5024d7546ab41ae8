#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <system_error>

#include "comm/ledger_format.h"
#include "comm/process_state.h"
#include "lockstep/base/file.h"
#include "lockstep/comm/ledger.h"

namespace lockstep {

namespace {

// Far above any job: a reader takes memory for each rank.
constexpr int kMostRanks = 1 << 16;

template <std::size_t N>
std::string text_of(const std::array<char, N>& text) {
  return {text.begin(), std::find(text.begin(), text.end(), '\0')};
}

ProcessState process_of(const LedgerHeader& header, const std::string& host) {
  if (header.exit_code != kLedgerOpen) return ProcessState::kGone;
  char own_host[256] = "";
  ::gethostname(own_host, sizeof(own_host) - 1);
  if (host != std::string_view(own_host).substr(0, 63)) return ProcessState::kUnknown;
  const std::uint32_t own_namespace = own_pid_namespace();
  if (header.pid_namespace != 0 && own_namespace != 0 && header.pid_namespace != own_namespace) {
    return ProcessState::kUnknown;
  }
  const ProcessFacts facts = look_at_process(header.pid);
  // Numbers of processes are used again.
  return facts.start_ticks == header.start_ticks ? facts.state : ProcessState::kGone;
}

}  // namespace

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
  if (header.size < 1 || header.size > kMostRanks || header.rank < 0 ||
      header.rank >= header.size) {
    fail(ExitCode::kBadData, "{}: rank {} of {} is impossible", path.string(), header.rank,
         header.size);
  }
  LedgerReading reading;
  reading.path = path;
  reading.identity = {header.rank, header.size, text_of(header.host), header.job};
  reading.pid = header.pid;
  reading.process = process_of(header, reading.identity.host);
  if (header.exit_code != kLedgerOpen) reading.exit_code = header.exit_code;
  if (header.signal != 0) {
    reading.signal =
        DeadlySignal{header.signal, header.signal_sender,
                     header.signal_sender != 0 && header.signal_sender == header.launcher};
  }
  reading.end_ns = header.end_ns;
  reading.last_words = text_of(header.last_words);
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

}  // namespace lockstep
