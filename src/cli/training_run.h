// One whole training as a user of a program sees it: what it says, what it writes, how it ends.
#pragma once

#include <functional>
#include <string>

#include "lockstep/base/error.h"
#include "lockstep/train/task.h"
#include "session.h"

namespace lockstep {

/// The first line of a training: versions, ranks, device.
void log_start(const Session& session);

/// Trains what make_task makes, as the session's settings say, evaluates its test data and writes the
/// report. `name`: of the run directory where --out names none, and in messages. Collective; throws
/// AgreedError. kDone or kStopped.
ExitCode run_training(Session& session, const std::string& name,
                      const std::function<Task()>& make_task);

}  // namespace lockstep
