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

#include "comm/ledger_format.h"
#include "lockstep/base/file.h"

namespace lockstep {

namespace {

std::int64_t now_ns() noexcept {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

template <std::size_t N>
void copy_text(std::array<char, N>& to, const char* from) noexcept {
  const std::size_t length = std::min(std::strlen(from), N - 1);
  std::memcpy(to.data(), from, length);
  std::fill(to.begin() + static_cast<std::ptrdiff_t>(length), to.end(), '\0');
}

LedgerHeader* header_of(std::byte* map) { return reinterpret_cast<LedgerHeader*>(map); }

}  // namespace

Ledger::Ledger(const std::filesystem::path& directory, const LedgerIdentity& identity)
    : path_(directory / fmt::format("{}-rank-{}", identity.host, identity.rank)),
      identity_(identity) {
  // A new file: a reader that has the old one mapped or open keeps what it sees.
  ::unlink(path_.c_str());
  const FileDescriptor file(::open(path_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  if (!file.valid()) {
    fail(ExitCode::kCannotCreate, "{}: the ledger cannot be created: {}", path_.string(),
         errno_text(errno));
  }
  // Without reserved space a full disk would kill the process at its first write to the map.
  const int error = ::posix_fallocate(file.get(), 0, static_cast<off_t>(kLedgerBytes));
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
  copy_text(header.host, identity.host.c_str());
  std::memcpy(map_, &header, sizeof(header));
  append(LedgerEvent::kPhase, 0, OperationKind::kNone, {});
}

Ledger::~Ledger() {
  if (map_ != nullptr) ::munmap(map_, kLedgerBytes);
}

Ledger::Ledger(Ledger&& other) noexcept
    : path_(std::move(other.path_)),
      identity_(std::move(other.identity_)),
      map_(std::exchange(other.map_, nullptr)),
      phase_(other.phase_),
      entries_(other.entries_),
      operations_(other.operations_) {}

void Ledger::append(LedgerEvent event, std::uint64_t operation, OperationKind kind,
                    const OperationLabel& label) noexcept {
  if (map_ == nullptr) return;
  LedgerEntry entry;
  entry.number = ++entries_;
  entry.operation = operation;
  entry.step = label.step;
  entry.time_ns = now_ns();
  entry.phase = phase_;
  entry.bucket = label.bucket;
  entry.event = event;
  entry.kind = kind;
  copy_text(entry.name, label.name);
  const std::size_t slot = (entry.number - 1) % kCapacity;
  std::memcpy(map_ + sizeof(LedgerHeader) + slot * sizeof(entry), &entry, sizeof(entry));
  // Released after the entry, so that a death in between leaves the older state, not a torn one.
  std::atomic_ref(header_of(map_)->entries).store(entries_, std::memory_order_release);
}

void Ledger::enter_phase(Phase phase) {
  phase_ = phase;
  append(LedgerEvent::kPhase, 0, OperationKind::kNone, {});
}

std::uint64_t Ledger::issued(OperationKind kind, const OperationLabel& label, bool whole_world) {
  const std::uint64_t operation = whole_world ? ++operations_ : 0;
  append(LedgerEvent::kIssued, operation, kind, label);
  return operation;
}

void Ledger::finished(std::uint64_t operation, OperationKind kind, const OperationLabel& label) {
  append(LedgerEvent::kFinished, operation, kind, label);
}

void Ledger::progress() { append(LedgerEvent::kProgress, 0, OperationKind::kNone, {}); }

void Ledger::close(ExitCode code) noexcept {
  if (map_ == nullptr) return;
  std::atomic_ref(header_of(map_)->exit_code)
      .store(static_cast<std::int32_t>(code), std::memory_order_release);
}

void Ledger::remove() noexcept {
  if (map_ == nullptr) return;
  ::munmap(std::exchange(map_, nullptr), kLedgerBytes);
  ::unlink(path_.c_str());
  ::rmdir(path_.parent_path().c_str());  // succeeds for the last rank of this host
}

}  // namespace lockstep
