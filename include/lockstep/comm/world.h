// The job: who the ranks are, the control plane between them, and how a job ends. Owns MPI.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "lockstep/base/error.h"
#include "lockstep/comm/ledger.h"
#include "lockstep/comm/operation.h"
#include "lockstep/comm/options.h"

namespace lockstep {

/// All ranks of the job, or of a part of it (split). Move-only; one thread at a time.
///
/// The control plane: operations on small host messages that every rank calls in the same order.
/// Each has the deadline of the current phase and throws Error{kUnavailable} naming the ranks that
/// are missing, or Error{kInternal} when ranks call different operations. After such an Error the
/// control plane refuses everything, and the process should leave through end_job().
class World {
 public:
  /// Starts MPI, with its errors returned rather than fatal (or borrows an MPI that already runs,
  /// and leaves it running), the ledger, the watchdog, and handlers that note in the ledger which
  /// signal ends the process before it does. Every rank calls it, once. Throws Error{kUnavailable};
  /// AgreedError{kCannotCreate | kInputOutput}, which the root has printed, when any rank can have
  /// no ledger. `before_mpi` is called first, under the watchdog's eyes; what it throws passes on.
  static World start(int& argc, char**& argv, const CommOptions& options,
                     const std::function<void()>& before_mpi = {});

  /// Ends the job in order: waits for all ranks, finalizes MPI, removes the ledger. Not when an
  /// exception that agree() did not announce is passing, nor after a failed operation: the other
  /// ranks might never come, so MPI is left as it is, the ledger stays, and the caller goes on to
  /// end_job(). Ends the process with 69 if the other ranks do not come to the end. Never throws.
  ~World();
  World(World&&) noexcept;
  World& operator=(World&&) = delete;

  /// Ends this process at once without waiting for anyone, and with it the job: for a failure that
  /// the other ranks do not know of; also right when the job has ended in order. May be called at
  /// any time, also after the World is gone. The message must have been printed; buffers are
  /// flushed. The code and the `last_words` (their first 367 bytes) are left in the ledger, if this
  /// rank still has one. mpirun returns this code and ends the others within about two seconds.
  [[noreturn]] static void end_job(ExitCode code, std::string_view last_words = {}) noexcept;

  /// The ranks that give the same color, ordered by key and rank. Every rank calls it, and destroys
  /// the result before this world. Messages name its ranks by their numbers in the job. While it
  /// works, the ranks that wait in this world are told so.
  World split(int color, int key);

  int rank() const;
  int size() const;
  int local_rank() const;  ///< among the ranks that share this host's memory
  int local_size() const;
  bool is_root() const { return rank() == 0; }
  const std::string& host() const;
  const std::string& host_of(int rank) const;
  /// "rank 1 (host)", "ranks 1 (host), 2 (other)": by their numbers in the job.
  std::string name_ranks(std::span<const int> ranks) const;

  void barrier();
  /// Fills `bytes` (of equal size everywhere) with the root's.
  void broadcast(std::span<std::byte> bytes, int root = 0);
  /// The root's text, of any size below 2 GiB.
  std::string broadcast_text(std::string text, int root = 0);
  /// At the root one text a rank, in rank order; elsewhere nothing.
  std::vector<std::string> gather_text(const std::string& text, int root = 0);
  /// The same for bytes; 2 GiB and more from one rank are refused (kInternal).
  void gather_bytes(std::span<const std::byte> own, std::vector<std::vector<std::byte>>& at_root,
                    int root = 0);
  /// One entry a rank, everywhere.
  std::vector<std::vector<std::byte>> all_gather_bytes(std::span<const std::byte> own);

  /// At the root the values of all ranks, in rank order; elsewhere nothing. Ranks may give
  /// different numbers of them.
  template <typename T>
  requires std::is_trivially_copyable_v<T> std::vector<T> gather_values(std::span<const T> own) {
    std::vector<std::vector<std::byte>> parts;
    gather_bytes(std::as_bytes(own), parts);
    std::vector<T> all;
    for (const auto& part : parts) {
      LOCKSTEP_CHECK(part.size() % sizeof(T) == 0, "a rank gave {} bytes of values of {}",
                     part.size(), sizeof(T));
      const std::size_t have = all.size();
      all.resize(have + part.size() / sizeof(T));
      if (!part.empty()) std::memcpy(all.data() + have, part.data(), part.size());
    }
    return all;
  }
  template <typename T>
  requires std::is_trivially_copyable_v<T> T broadcast_value(T value, int root = 0) {
    broadcast(std::as_writable_bytes(std::span(&value, 1)), root);
    return value;
  }
  template <typename T>
  requires std::is_trivially_copyable_v<T> std::vector<T> all_gather_value(const T& value) {
    const auto gathered = all_gather_bytes(std::as_bytes(std::span(&value, 1)));
    std::vector<T> values(gathered.size(), value);
    for (std::size_t i = 0; i < gathered.size(); ++i) {
      LOCKSTEP_CHECK(gathered[i].size() == sizeof(T), "rank {} gave {} bytes, expected {}", i,
                     gathered[i].size(), sizeof(T));
      std::memcpy(&values[i], gathered[i].data(), sizeof(T));
    }
    return values;
  }
  std::int64_t all_reduce_max(std::int64_t value);
  std::int64_t all_reduce_sum(std::int64_t value);

  using Failure = std::pair<ExitCode, std::string>;
  /// Every rank offers its failure, or none; every rank gets the same: that of the lowest failing
  /// rank, as "rank N (host): message", or with all of position() in front once steps have begun,
  /// or where it is a failure of that rank alone (kUnavailable, kInternal). When it is a failure,
  /// every rank is expected to leave with it: the destructor then ends the job in order although an
  /// exception passes.
  std::optional<Failure> agree(const std::optional<Failure>& own);

  /// For long work of this rank alone: tells the ranks that wait (in the worlds around this one,
  /// too) that it goes on, which starts their deadlines anew, and feeds the own watchdog. Cheap
  /// enough to call often (well under a microsecond): sends now and then only. Not from another
  /// thread while this one uses the world.
  void publish_progress();

  /// For a thread whose work a failure of another rank shall not cost: see Watchdog::let_finish.
  /// One for the process, and all its worlds. Not collective; thread-safe.
  void let_finish(std::function<bool()> busy);

  /// Seconds, as in CommOptions.
  double collective_timeout() const;

  /// From here on operations and signs of life have this deadline; 0: collective_timeout.
  void enter_phase(Phase phase, double deadline_seconds = 0);
  /// From here on work belongs to this global step: what messages and the ledger say where an
  /// operation does not say it itself.
  void at_step(std::int64_t step);
  /// The step that at_step has named last; 0: none yet.
  std::int64_t step() const;
  /// "rank 1 (host), in phase training of step 7, after all_reduce 'gradients' bucket 1 of step 6
  /// (operation 33)": what a message about this rank alone begins with. Never throws.
  std::string position() const noexcept;
  Ledger& ledger();

  struct Impl;
  /// For the backends of this module.
  Impl& impl() { return *impl_; }

 private:
  explicit World(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace lockstep
