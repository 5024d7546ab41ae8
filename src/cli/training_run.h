// One whole training as a user of a program sees it: what it says, what it writes, how it ends.
#pragma once

#include <functional>

#include "lockstep/base/error.h"
#include "lockstep/train/task.h"
#include "session.h"

namespace lockstep {

/// The first line of a training: versions, ranks, device.
void log_start(const Session& session);

/// Trains what make_task makes, as the settings say, evaluates its test data and writes the report.
/// Collective; throws AgreedError. kDone or kStopped.
ExitCode run_training(Session& session, const Settings& settings,
                      const std::function<Task()>& make_task);

}  // namespace lockstep
