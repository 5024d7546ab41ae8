// A program of your own that trains: in one call all that `lockstep train` does with its networks -
// settings from the command line and files, ranks, exact resume, checkpoints, records, the report,
// messages and exit codes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "lockstep/cli/settings.h"
#include "lockstep/data/split.h"
#include "lockstep/train/task.h"

namespace lockstep {

struct Program {
  /// Of what is trained: in messages, in checkpoints (in the place of --model) and in the names of
  /// run directories. One word.
  std::string name;
  std::string summary;  ///< one line for --help
  /// It trains on labelled images: the settings of those (--data, --augment, --label-smoothing,
  /// ...) are accepted. Other programs find theirs where they want, and have no such settings in
  /// their records.
  bool images = true;
  /// Where the MNIST is that --data means when it is not given; empty: beside the program, in
  /// ../share/lockstep/mnist, or in lockstep's source tree. The target lockstep::lockstep defines
  /// what it is.
  std::filesystem::path embedded_data = LOCKSTEP_INSTALLED_DATA;
};

/// A start of the program, on one of its ranks. Lives until the training is over.
struct Launch {
  const Settings& settings;
  int rank = 0;
  int world_size = 1;
  /// For work of many seconds, now and then: tells the other ranks, who wait, that this one is
  /// alive.
  std::function<void()> progress;
};

/// Runs under mpirun, or alone as one rank. `make_task` is called once on each rank, after
/// LibTorch's generator has been seeded with --seed: modules that initialise themselves have the
/// same weights everywhere. What it throws, and tasks that are not equal on all ranks, end the job
/// in order. Returns what main() returns: see exit_codes_help().
int train_main(int argc, char** argv, const Program& program,
               const std::function<Task(const Launch&)>& make_task);

/// The images that the settings name (--data, --test-data), split, augmented and judged as they
/// say: inputs float32 [C,H,W], labels 0 .. kClasses-1. Throws as load_training does.
Task image_classification(const Launch& launch, Model model);

/// Splits `count` samples of any kind as --validation-fraction and --split-seed say.
Split split_samples(const Launch& launch, std::int64_t count);

}  // namespace lockstep
