// The request to stop that a scheduler sends as SIGUSR1.
#pragma once

namespace lockstep {

/// From now on SIGUSR1 sets a flag instead of ending the process. Call before anything slow.
void install_stop_signal();
/// Whether SIGUSR1 has arrived.
bool stop_requested();

}  // namespace lockstep
