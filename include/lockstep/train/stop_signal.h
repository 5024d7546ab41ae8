// Requests to stop with a checkpoint: SIGUSR1 (preempted: the machine is taken away) and SIGUSR2
// (interrupted: someone wants this run to end). Either may come at any moment and any number of
// times.
#pragma once

#include "lockstep/train/training_state.h"

namespace lockstep {

/// Both signals stay pending in this thread and those it starts. Allocates nothing and needs
/// nothing initialised: may be called before any constructor.
void block_stop_signals() noexcept;
/// From now on they set a flag; those that were pending do so at once. Call before anything slow.
void install_stop_signals();
/// From now on they end the process, as they would a program that knows nothing of them; those that
/// were pending do so at once.
void release_stop_signals();
/// kNone, kPreempted or kInterrupted; kInterrupted if both signals have arrived, in whatever order.
StopReason requested_stop();

}  // namespace lockstep
