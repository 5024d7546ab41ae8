// The ledger of a rank: a small file on node-local disk, mapped into memory, that says what the
// rank does and survives the death of the process. Written by one rank, read by anyone on its host:
// by the other ranks and the watchdog when a deadline passes, by `lockstep doctor` afterwards.
//
// The file `<host>-rank-<n>` is a header of 256 bytes and a ring of 64-byte entries, native byte
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
  kPhase = 1,     ///< a phase began
  kIssued = 2,    ///< an operation was handed to its backend
  kFinished = 3,  ///< its caller has waited for it
  kProgress = 4,  ///< long work of this rank alone goes on
};

/// One entry as it is stored.
struct LedgerEntry {
  std::uint64_t number = 0;  ///< of the entry in its ledger, from 1
  std::uint64_t operation =
      0;  ///< from 1, equal on ranks in lockstep; 0: none, or not of the whole world
  std::int64_t step = -1;
  std::int64_t time_ns = 0;  ///< since 1970
  Phase phase = Phase::kStartUp;
  std::int32_t bucket = -1;
  LedgerEvent event = LedgerEvent::kPhase;
  OperationKind kind = OperationKind::kNone;
  std::array<char, 22> name{};  ///< the label's name, zero-terminated, cut to fit
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

  /// Returns the operation's number, for finished(). `whole_world` is false for operations that
  /// only some ranks take part in: they get number 0.
  std::uint64_t issued(OperationKind kind, const OperationLabel& label, bool whole_world = true);
  void finished(std::uint64_t operation, OperationKind kind, const OperationLabel& label);
  void progress();

  /// The last mark: the rank ends on purpose, with this code.
  void close(ExitCode code) noexcept;
  /// Removes the file, and the directory if it is empty then. Nothing may be recorded afterwards.
  void remove() noexcept;

  const std::filesystem::path& path() const { return path_; }
  const LedgerIdentity& identity() const { return identity_; }

 private:
  void append(LedgerEvent event, std::uint64_t operation, OperationKind kind,
              const OperationLabel& label) noexcept;

  std::filesystem::path path_;
  LedgerIdentity identity_;
  std::byte* map_ = nullptr;
  Phase phase_ = Phase::kStartUp;
  std::uint64_t entries_ = 0;
  std::uint64_t operations_ = 0;
};

/// A ledger as found on disk.
struct LedgerReading {
  std::filesystem::path path;
  LedgerIdentity identity;
  int pid = 0;
  bool process_alive = false;            ///< as far as this host can tell
  std::optional<int> exit_code;          ///< set when the rank ended on purpose
  std::vector<LedgerEntry> entries;      ///< the newest at the end; may be empty
  std::uint64_t last_operation() const;  ///< highest number issued, 0 if none
};

/// Reads and checks one file. Throws Error{kInputMissing | kInputOutput | kBadData}.
LedgerReading read_ledger(const std::filesystem::path& path);

/// All ledgers of a directory, by rank. Files that cannot be read as ledgers are described in
/// `problems` ("path: reason"). A job other than 0 leaves out the ledgers of other jobs.
std::vector<LedgerReading> read_ledgers(const std::filesystem::path& directory,
                                        std::vector<std::string>& problems, std::uint64_t job = 0);

/// One sentence for each rank whose ledger is here: where it is, and whether it is behind, waits,
/// has ended or died; and one for the ranks without a ledger. `now_ns` counts since 1970.
std::vector<std::string> explain(const std::vector<LedgerReading>& readings, std::int64_t now_ns);

}  // namespace lockstep
