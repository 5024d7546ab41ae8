// Controls of the test double of NCCL and the CUDA runtime.
//
// Work is queued by stream and does not run when it is enqueued, but when the host asks (event
// query, stream synchronization): then one stream runs as far as its event waits let it before
// another gets its turn. With kEarliestStreamFirst the compute stream overtakes the communication
// stream, with kLatestStreamFirst it is the other way round: whichever wait is missing, one of the
// two shows it.
//
// Communicators are non-blocking: a call only takes effect, and enters its stream, once
// ncclCommGetAsyncError has been asked often enough.
#pragma once

#include <nccl.h>

#include <string>
#include <vector>

namespace nccl_double {

enum class Order { kEarliestStreamFirst, kLatestStreamFirst };

/// Sets the order, forgets injected errors and gives each rank one GPU. Streams and communicators
/// stay.
void reset(Order order);

/// The next operation of this rank turns into this error while it is under way.
void fail_next_operation(ncclResult_t error);

/// How many communicators of this rank have been aborted or destroyed since reset().
int aborted();
int destroyed();

/// The GPUs this rank sees, by an identity each; none: as without a driver.
void set_devices(std::vector<std::string> identities);

}  // namespace nccl_double
