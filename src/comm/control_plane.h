// Collective operations on small host messages, as a star of point-to-point messages: whoever
// collects knows who has not come, which MPI's own collectives never tell.
#pragma once

#include <mpi.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "comm/mpi_support.h"
#include "comm/pulse.h"
#include "comm/traffic.h"

namespace lockstep {

/// Operations are numbered, so that ranks that call different ones find out. `name` is for
/// messages.
class ControlPlane {
 public:
  /// `diagnose` adds what the ledgers tell to a message about missing ranks.
  ControlPlane(Communicator comm, Watchdog& watchdog, double seconds,
               std::function<std::string()> diagnose);
  ~ControlPlane();

  /// Every rank's bytes at the root, in rank order; nothing elsewhere.
  std::vector<Bytes> gather(const char* name, std::span<const std::byte> own, int root);
  /// The root's bytes everywhere.
  Bytes broadcast(const char* name, std::span<const std::byte> bytes, int root);
  /// Every rank's bytes everywhere: what the root sends grows with the square of the ranks.
  std::vector<Bytes> all_gather(const char* name, std::span<const std::byte> own);
  /// What the root makes of every rank's bytes, everywhere. `combine` is called there alone.
  Bytes combine(const char* name, std::span<const std::byte> own,
                const std::function<Bytes(std::vector<Bytes>)>& combine);

  struct Member {
    std::string host;
    int job_rank;  ///< among all ranks of the job: what messages name
  };
  /// In the order of ranks.
  void set_members(std::vector<Member> members) { members_ = std::move(members); }
  const std::vector<Member>& members() const { return members_; }
  Pulse& pulse() { return pulse_; }
  MPI_Comm comm() const { return comm_.get(); }
  int rank() const { return rank_; }
  int size() const { return size_; }
  /// An operation has failed: requests may be pending, and no other operation is possible.
  bool failed() const { return failed_; }
  /// "rank 2 (host)", with the number that the rank has in the job.
  std::string name_rank(int rank) const;

 private:
  /// One numbered operation: none after one that has failed.
  template <typename Operation>
  auto attempt(const char* name, Operation operation);
  Traffic& open();
  void close();
  std::string name_unfinished(const Traffic& traffic) const;
  std::vector<Bytes> collect(const char* name, std::span<const std::byte> own, int root);
  Bytes deliver(const char* name, std::span<const std::byte> bytes, int root);
  void send_verdict(const std::string& message, const char* name);
  [[noreturn]] void give_up(const std::string& message);

  Communicator comm_;
  int rank_;
  int size_;
  std::vector<Member> members_;
  Pulse pulse_;
  std::function<std::string()> diagnose_;
  std::uint64_t sequence_ = 0;
  bool failed_ = false;
  // The innermost last. What a failed operation leaves stays here.
  std::vector<std::unique_ptr<Traffic>> under_way_;
};

}  // namespace lockstep
