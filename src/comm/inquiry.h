// What ranks of other hosts tell when a deadline has passed: their ledgers lie where only they can
// read them.
#pragma once

#include <mpi.h>

#include <cstddef>
#include <functional>
#include <memory>
#include <vector>

#include "comm/pulse.h"
#include "lockstep/base/clock.h"
#include "lockstep/comm/ledger.h"

namespace lockstep {

/// One for each control plane. A rank answers while it waits for anything in the same world, with
/// the ledgers of its host.
class Inquiry {
 public:
  /// `pulse` carries the questions over `comm`; both outlive this. `read` gives the ledgers of this
  /// host.
  Inquiry(MPI_Comm comm, Pulse& pulse, std::function<std::vector<LedgerReading>()> read);
  ~Inquiry();
  Inquiry(const Inquiry&) = delete;
  Inquiry& operator=(const Inquiry&) = delete;

  /// The ranks of one host, by their numbers in `comm` and, in the same order, in their ledgers.
  struct Host {
    std::vector<int> ranks;
    std::vector<int> members;
  };
  /// Tells those that ask() would ask first that this rank is there: a connection that is begun
  /// when a link has failed would end this process within MPI, before it has said why.
  void greet(const std::vector<Host>& hosts);
  /// Asks ranks of each host and returns all ledgers that came, with times in this host's clock,
  /// once those of all members are there or the seconds have passed. Answers others meanwhile.
  std::vector<LedgerReading> ask(const std::vector<Host>& hosts, double seconds);

 private:
  struct Answer {
    std::shared_ptr<const std::vector<std::byte>> bytes;
    MPI_Request request = MPI_REQUEST_NULL;
  };
  void answer(int asker);
  bool take(std::vector<LedgerReading>& readings);

  MPI_Comm comm_;
  Pulse& pulse_;
  std::function<std::vector<LedgerReading>()> read_;
  std::vector<std::unique_ptr<Answer>> answers_;
  std::shared_ptr<std::vector<std::byte>> extracts_;  // of this host's ledgers, a moment ago
  Stopwatch since_extracts_;
};

}  // namespace lockstep
