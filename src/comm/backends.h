// The backends that make_collectives chooses from. Each is a file of its own; nccl.cpp or
// no_nccl.cpp is built.
#pragma once

#include <cstddef>
#include <memory>

#include "lockstep/comm/collectives.h"
#include "lockstep/comm/world.h"

namespace lockstep {

/// How the mpi backend cuts long buffers into messages.
struct MessageLimits {
  /// Of an all-reduce: Open MPI takes a scratch buffer as large as the message, and messages side
  /// by side keep both cores of a pair busy.
  std::size_t all_reduce_bytes = std::size_t{1} << 20;
  /// Elements of any message: counts of MPI 3 are ints.
  std::size_t count = std::size_t{1} << 30;
};

/// How the mpi backend moves data.
struct MpiOptions {
  MessageLimits limits = {};
  bool shared_memory = true;  ///< as CommOptions has it
};

/// Host buffers over MPI.
std::unique_ptr<Collectives> make_mpi_collectives(World& world, const MpiOptions& options = {});

/// Device buffers over NCCL, ordered with `compute_stream` (a cudaStream_t; null: the default
/// stream). Not in a build without NCCL.
std::unique_ptr<Collectives> make_nccl_collectives(World& world, void* compute_stream);
bool built_with_nccl();

/// An operation on nothing.
class CompletedOperation final : public PendingOperation {
 public:
  bool test() override { return true; }
  void wait() override {}
};

/// What every backend demands of its caller; throws Error{kInternal}.
void check_root(const World& world, int root);
void check_exchange(const World& world, const Buffer& send, const Buffer& receive, int peer);

}  // namespace lockstep
