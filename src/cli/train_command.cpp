// lockstep train: from settings to a finished run directory.
#include "command_line.h"
#include "lockstep/train/stop_signal.h"
#include "session.h"
#include "training_job.h"
#include "training_run.h"

namespace lockstep {

namespace {

ExitCode train(Session& session) {
  log_start(session);
  const TrainingData data = load_training_data(session);
  return run_training(session, session.settings(),
                      [&] { return classification_task(session.settings(), data); });
}

ExitCode run_train(const Command& command, std::span<const std::string> arguments) {
  install_stop_signals();
  Session session(command, arguments);
  return reporting(session.world(), [&] { return train(session); });
}

}  // namespace

Command train_command() {
  CommandLine accepts;
  for (const NetworkEntry& entry : registered_networks()) accepts.models.push_back(entry.name);
  return {.name = "train",
          .summary = "train a network on labelled images and write a run directory",
          .accepts = std::move(accepts),
          .run = run_train};
}

}  // namespace lockstep
