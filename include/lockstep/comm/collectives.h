// The data plane: what ranks do together with typed buffers, behind one interface for every
// backend.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "lockstep/comm/operation.h"
#include "lockstep/comm/options.h"

namespace lockstep {

class World;

/// kFloat16 is IEEE 754 binary16, kBfloat16 the upper half of a float32. Of these two there are
/// sums only. The mpi backend rounds each sum of two numbers (to nearest, ties to even); nccl may
/// keep more of a partial sum.
enum class DataType { kFloat32, kFloat64, kInt32, kInt64, kUint8, kFloat16, kBfloat16 };
enum class ReduceOp { kSum, kMax, kMin };

/// Bytes of one element.
constexpr std::size_t size_of(DataType type) {
  switch (type) {
    case DataType::kFloat32:
    case DataType::kInt32:
      return 4;
    case DataType::kFloat64:
    case DataType::kInt64:
      return 8;
    case DataType::kFloat16:
    case DataType::kBfloat16:
      return 2;
    case DataType::kUint8:
      break;
  }
  return 1;
}

/// `count` elements at `data`: host memory for the mpi backend, device memory for nccl. Not owned.
struct Buffer {
  void* data = nullptr;
  std::size_t count = 0;
  DataType type = DataType::kFloat32;
  std::size_t bytes() const { return count * size_of(type); }
};

/// An operation under way. Its buffers stay untouched by the caller until it is complete.
/// Destroying the handle early does not stop the operation; Collectives::synchronize() then waits
/// for it.
class PendingOperation {
 public:
  virtual ~PendingOperation() = default;
  /// True once the result is there. Makes progress.
  virtual bool test() = 0;
  /// Host buffers: returns when the result is there. Device buffers: does not wait on the host;
  /// work enqueued on the compute stream from now on runs after the operation. Throws
  /// Error{kUnavailable} naming the operation and who is behind when the deadline passes or a rank
  /// has failed.
  virtual void wait() = 0;
};

/// Every rank calls the same operations in the same order with the same counts and types. An
/// operation on an empty buffer communicates nothing. Results have the same bits on every rank.
/// From one thread at a time (any thread). Destroyed before its World. After an Error the object is
/// of no further use than to be destroyed.
class Collectives {
 public:
  virtual ~Collectives() = default;

  /// Device buffers: the operation starts after the work that is on the compute stream now.
  virtual std::unique_ptr<PendingOperation> all_reduce(Buffer in_place, ReduceOp op,
                                                       const OperationLabel& label) = 0;
  virtual std::unique_ptr<PendingOperation> broadcast(Buffer buffer, int root,
                                                      const OperationLabel& label) = 0;
  /// Sends to and receives from `peer`, which calls this with our rank. Equal counts and types; the
  /// buffers do not overlap.
  virtual std::unique_ptr<PendingOperation> exchange(Buffer send, Buffer receive, int peer,
                                                     const OperationLabel& label) = 0;

  /// Zeroed host memory, aligned to 64 bytes, in which float32 sums take no messages: the ranks of
  /// one host share it, and read and write it while a sum is under way. They are added in the order
  /// of a binomial tree, in which Open MPI 4.1 adds what is sent unless told otherwise. Null where
  /// any other memory does as well: ranks on several hosts, a single rank, device buffers,
  /// CommOptions::shared_memory off, or a system that lets them share none (the root logs why).
  /// Every rank calls it with the same size, outside of together(), and sums the same places of it.
  /// Stays as long as the Collectives and whoever else refers to it. With 1,024 sums under way
  /// all_reduce waits for the first of them, as wait() does.
  virtual std::shared_ptr<std::byte> allocate(std::size_t bytes) = 0;

  /// Pokes what is pending (MPI progresses only inside its calls). A few nanoseconds when nothing
  /// is.
  virtual void progress() = 0;
  /// Returns when everything issued is complete, on the host. Throws as PendingOperation::wait
  /// does.
  virtual void synchronize() = 0;

  virtual std::string_view backend() const = 0;  ///< "mpi" or "nccl"
  virtual bool on_device() const = 0;            ///< whether buffers are device memory
};

/// The backend that `options` name, recording into the world's ledger. `device_buffers` says where
/// the caller's gradients lie; `compute_stream` is the cudaStream_t that produces and consumes them
/// (null: the default stream). Every rank calls it, outside of together(). Throws
/// AgreedError{kUsage} with the reason when the backend is unknown, not in this build, or does not
/// fit the buffers; AgreedError{kUnavailable} when a GPU cannot be used; Error{kUnavailable} as any
/// operation.
std::unique_ptr<Collectives> make_collectives(World& world, const CommOptions& options,
                                              bool device_buffers, void* compute_stream);

}  // namespace lockstep
