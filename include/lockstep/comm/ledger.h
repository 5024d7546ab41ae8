// The ledger of a rank: a small file on node-local disk, mapped into memory, that says what the
// rank does and survives the death of the process. Written by one rank, read by anyone on its host:
// by the other ranks and the watchdog when a deadline passes, by `lockstep doctor` afterwards.
//
// The file `<host>-rank-<n>` is a header of 512 bytes and a ring of 64-byte entries, native byte
// order.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lockstep/base/error.h"
#include "lockstep/comm/operation.h"

namespace lockstep {

/// Whose ledger it is.
struct LedgerIdentity {
  int rank = 0;
  int size = 1;
  std::string host;       ///< at most 63 bytes are kept
  std::uint64_t job = 0;  ///< equal on all ranks of a job, different between jobs
};

/// What an entry reports. Values are stored: never renumber.
enum class LedgerEvent : std::uint8_t {
  kPhase = 1,     ///< a phase began, or a step of it
  kIssued = 2,    ///< an operation was handed to its backend
  kFinished = 3,  ///< its caller has waited for it
  kProgress = 4,  ///< long work of this rank alone goes on; the time is that of the last sign
  kJoined = 5,    ///< the rank became part of the entry's world
};

/// Counts the operations of one World, in which its ranks keep step.
struct OperationCounter {
  std::uint32_t world = 0;   ///< 0: all ranks of the job; else a part of them
  std::uint64_t issued = 0;  ///< operations so far
};

/// One entry as it is stored.
struct LedgerEntry {
  std::uint64_t number = 0;     ///< of the entry in its ledger, from 1
  std::uint64_t operation = 0;  ///< in its world, from 1, equal on ranks in lockstep; 0: none
  std::int64_t step = -1;
  std::int64_t time_ns = 0;  ///< since 1970
  std::uint32_t world = 0;
  std::int32_t bucket = -1;
  Phase phase = Phase::kStartUp;
  LedgerEvent event = LedgerEvent::kPhase;
  OperationKind kind = OperationKind::kNone;
  std::array<char, 21> name{};  ///< the label's name, zero-terminated, cut to fit
};
static_assert(sizeof(LedgerEntry) == 64);

/// The writer. Every call takes well under a microsecond, allocates nothing and cannot fail.
/// Move-only. One thread at a time, except for reading the file itself.
class Ledger {
 public:
  static constexpr std::uint32_t kCapacity = 128;

  /// Creates `<directory>/<host>-rank-<n>`, replacing one that an earlier job left; the disk space
  /// is reserved. Throws Error{kCannotCreate | kInputOutput} naming the path.
  Ledger(const std::filesystem::path& directory, const LedgerIdentity& identity);
  ~Ledger();
  Ledger(Ledger&& other) noexcept;
  Ledger& operator=(Ledger&&) = delete;

  void enter_phase(Phase phase);
  Phase phase() const { return phase_; }
  /// Entries whose label names no step carry this one from now on, and one says so at once.
  void at_step(std::int64_t step);
  /// The rank takes part in this world from now on.
  void join(const OperationCounter& counter);

  /// Returns the operation's number, for finished().
  std::uint64_t issued(OperationCounter& counter, OperationKind kind, const OperationLabel& label);
  void finished(const OperationCounter& counter, std::uint64_t operation, OperationKind kind,
                const OperationLabel& label);
  /// However often it is called, it takes one entry until something else happens.
  void progress();

  /// The last mark: the rank ends on purpose, with this code.
  void close(ExitCode code, std::string_view last_words = {}) noexcept;
  /// Removes the file, and the directory if it is empty then. Nothing may be recorded afterwards.
  void remove() noexcept;

  const std::filesystem::path& path() const { return path_; }
  const LedgerIdentity& identity() const { return identity_; }

 private:
  void record(LedgerEvent event, std::uint32_t world, std::uint64_t operation, OperationKind kind,
              const OperationLabel& label) noexcept;
  void append(LedgerEntry entry) noexcept;
  LedgerEntry* slot(std::uint64_t number) const noexcept;

  std::filesystem::path path_;
  LedgerIdentity identity_;
  std::byte* map_ = nullptr;
  Phase phase_ = Phase::kStartUp;
  std::int64_t step_ = -1;
  std::uint64_t entries_ = 0;
  LedgerEvent newest_ = LedgerEvent::kPhase;
};

/// What a rank's process does, as far as its host can tell.
enum class ProcessState : std::uint8_t {
  kUnknown = 0,  ///< of another host
  kGone = 1,
  kAlive = 2,
  kUninterruptible = 3,  ///< in the kernel: a disk, a network file system or a driver
  kStopped = 4,          ///< SIGSTOP
  kTraced = 5,           ///< halted by a debugger
};

/// The signal that ended a rank.
struct DeadlySignal {
  int number = 0;
  int sender = 0;              ///< its process; 0: the rank itself or the kernel
  bool from_launcher = false;  ///< the sender had started the rank: mpirun or its daemon
};

/// A ledger as found on disk.
struct LedgerReading {
  std::filesystem::path path;
  LedgerIdentity identity;
  int pid = 0;
  ProcessState process = ProcessState::kUnknown;  ///< kGone once the rank has ended
  std::optional<int> exit_code;                   ///< set when the rank ended on purpose
  std::optional<DeadlySignal> signal;             ///< set when a signal ended it that can be seen
  std::int64_t end_ns = 0;                        ///< since 1970; 0: it has not said that it ends
  std::string last_words;                         ///< why it ended on purpose; may be cut
  std::vector<LedgerEntry> entries;               ///< the newest at the end; may be empty

  /// The first line of the last words: what follows tells of other ranks.
  std::string own_last_words() const { return last_words.substr(0, last_words.find('\n')); }
  /// Here, and not known to have ended.
  bool alive() const { return process != ProcessState::kUnknown && process != ProcessState::kGone; }
  /// Neither ended by itself nor by a signal that can be seen: mostly SIGKILL.
  bool vanished() const { return process == ProcessState::kGone && !exit_code && !signal; }
  /// Highest number issued in a world, 0 if none.
  std::uint64_t last_operation(std::uint32_t world = 0) const;
};

/// Reads and checks one file. Throws Error{kInputMissing | kInputOutput | kBadData}.
LedgerReading read_ledger(const std::filesystem::path& path);

/// All ledgers of a directory, by rank. Files that cannot be read as ledgers are described in
/// `problems` ("path: reason"). A job other than 0 leaves out the ledgers of other jobs.
std::vector<LedgerReading> read_ledgers(const std::filesystem::path& directory,
                                        std::vector<std::string>& problems, std::uint64_t job = 0);

/// What ledgers of one job tell together.
struct Explanation {
  /// One sentence a rank: where it is, and whether it is behind, waits, has ended or died.
  std::vector<std::string> lines;
  /// Who the others wait for, or who failed first: the first of these kinds that there are: ranks
  /// that vanished, died of a signal of their own or ended with a code other than 69; that are
  /// stopped; that are behind. Ascending.
  std::vector<int> suspects;
  /// Ranks of the job whose ledgers are not among these. Ascending.
  std::vector<int> absent;
};

/// Where the rank is or was: "rank 1 (host), in phase training of step 7, after all_reduce ...".
std::string describe_position(const LedgerReading& reading);

/// `now_ns` counts since 1970.
Explanation examine(const std::vector<LedgerReading>& readings, std::int64_t now_ns);

/// A line for the ranks without a ledger; empty where there are none.
std::string describe_absent(const Explanation& explanation);

/// The lines of examine(), and that one.
std::vector<std::string> explain(const std::vector<LedgerReading>& readings, std::int64_t now_ns);

}  // namespace lockstep
