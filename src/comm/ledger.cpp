#include "lockstep/comm/ledger.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>

#include "comm/ending.h"
#include "comm/ledger_format.h"
#include "comm/process_state.h"
#include "lockstep/base/clock.h"
#include "lockstep/base/file.h"

namespace lockstep {

namespace {

template <std::size_t N>
void copy_text(std::array<char, N>& to, const char* from) noexcept {
  const std::size_t length = std::min(std::strlen(from), N - 1);
  std::memcpy(to.data(), from, length);
  std::fill(to.begin() + static_cast<std::ptrdiff_t>(length), to.end(), '\0');
}

// The process, another than this one, that writes the ledger of this name; 0: none.
int living_owner(const std::filesystem::path& path) noexcept {
  try {
    const LedgerReading reading = read_ledger(path);
    const bool lives =
        reading.process != ProcessState::kGone && reading.process != ProcessState::kUnknown;
    return lives && reading.pid != ::getpid() ? reading.pid : 0;
  } catch (const std::exception&) {
    return 0;  // there is none, or none that says so
  }
}

LedgerHeader* header_of(std::byte* map) { return reinterpret_cast<LedgerHeader*>(map); }

}  // namespace

Ledger::Ledger(const std::filesystem::path& directory, const LedgerIdentity& identity)
    : path_(directory / fmt::format("{}-rank-{}", identity.host, identity.rank)),
      identity_(identity) {
  if (const int owner = living_owner(path_); owner != 0) {
    fail(ExitCode::kCannotCreate,
         "{}: the ledger of process {}, which is running: another job uses this --ledger-dir",
         path_.string(), owner);
  }
  // A new file: a reader that has the old one mapped or open keeps what it sees.
  ::unlink(path_.c_str());
  const FileDescriptor file(::open(path_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  if (!file.valid()) {
    fail(ExitCode::kCannotCreate, "{}: the ledger cannot be created: {}", path_.string(),
         errno_text(errno));
  }
  // Without reserved space a full disk would kill the process at its first write to the map.
  int error = 0;
  do {  // a pending stop signal interrupts it
    error = ::posix_fallocate(file.get(), 0, static_cast<off_t>(kLedgerBytes));
  } while (error == EINTR);
  if (error != 0) {
    ::unlink(path_.c_str());
    fail(ExitCode::kInputOutput, "{}: no space for a ledger of {} bytes: {}", path_.string(),
         kLedgerBytes, errno_text(error));
  }
  void* map = ::mmap(nullptr, kLedgerBytes, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
  if (map == MAP_FAILED) {
    fail(ExitCode::kInputOutput, "{}: the ledger cannot be mapped: {}", path_.string(),
         errno_text(errno));
  }
  map_ = static_cast<std::byte*>(map);
  LedgerHeader header{};
  header.magic = kLedgerMagic;
  header.version = kLedgerVersion;
  header.capacity = kCapacity;
  header.rank = identity.rank;
  header.size = identity.size;
  header.pid = ::getpid();
  header.exit_code = kLedgerOpen;
  header.job = identity.job;
  header.start_ticks = look_at_process(header.pid).start_ticks;
  header.launcher = ::getppid();
  header.pid_namespace = own_pid_namespace();
  copy_text(header.host, identity.host.c_str());
  std::memcpy(map_, &header, sizeof(header));
  append({});
}

Ledger::~Ledger() {
  if (map_ != nullptr) ::munmap(map_, kLedgerBytes);
}

Ledger::Ledger(Ledger&& other) noexcept
    : path_(std::move(other.path_)),
      identity_(std::move(other.identity_)),
      map_(std::exchange(other.map_, nullptr)),
      phase_(other.phase_),
      step_(other.step_),
      entries_(other.entries_),
      newest_(other.newest_) {}

LedgerEntry* Ledger::slot(std::uint64_t number) const noexcept {
  return reinterpret_cast<LedgerEntry*>(map_ + sizeof(LedgerHeader)) + (number - 1) % kCapacity;
}

void Ledger::append(LedgerEntry entry) noexcept {
  if (map_ == nullptr) return;
  entry.number = ++entries_;
  entry.time_ns = unix_nanoseconds();
  entry.phase = phase_;
  if (entry.step < 0) entry.step = step_;
  newest_ = entry.event;
  std::memcpy(slot(entry.number), &entry, sizeof(entry));
  // Released after the entry, so that a death in between leaves the older state, not a torn one.
  std::atomic_ref(header_of(map_)->entries).store(entries_, std::memory_order_release);
}

void Ledger::enter_phase(Phase phase) {
  phase_ = phase;
  append({});
}

void Ledger::at_step(std::int64_t step) {
  step_ = step;
  append({});
}

void Ledger::join(const OperationCounter& counter) {
  append({.world = counter.world, .event = LedgerEvent::kJoined});
}

std::uint64_t Ledger::issued(OperationCounter& counter, OperationKind kind,
                             const OperationLabel& label) {
  record(LedgerEvent::kIssued, counter.world, ++counter.issued, kind, label);
  return counter.issued;
}

void Ledger::finished(const OperationCounter& counter, std::uint64_t operation, OperationKind kind,
                      const OperationLabel& label) {
  record(LedgerEvent::kFinished, counter.world, operation, kind, label);
}

void Ledger::record(LedgerEvent event, std::uint32_t world, std::uint64_t operation,
                    OperationKind kind, const OperationLabel& label) noexcept {
  LedgerEntry entry{.operation = operation,
                    .step = label.step,
                    .world = world,
                    .bucket = label.bucket,
                    .event = event,
                    .kind = kind};
  copy_text(entry.name, label.name);
  append(entry);
}

void Ledger::progress() {
  if (map_ == nullptr) return;
  // Entries of their own would push out the operations that tell where the rank is.
  if (newest_ == LedgerEvent::kProgress) {
    std::atomic_ref(slot(entries_)->time_ns).store(unix_nanoseconds(), std::memory_order_relaxed);
  } else {
    append({.event = LedgerEvent::kProgress});
  }
}

void Ledger::close(ExitCode code, std::string_view last_words) noexcept {
  if (map_ != nullptr) mark_end(*header_of(map_), code, last_words);
}

void Ledger::remove() noexcept {
  if (map_ == nullptr) return;
  ::munmap(std::exchange(map_, nullptr), kLedgerBytes);
  ::unlink(path_.c_str());
  ::rmdir(path_.parent_path().c_str());  // succeeds for the last rank of this host
}

}  // namespace lockstep
