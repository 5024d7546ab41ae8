// The kinds of lockstep bench, each in a file of its own, and what they share.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "command_line.h"
#include "lockstep/cli/settings.h"
#include "session.h"

namespace lockstep {

struct Benchmark {
  std::string name;
  std::string summary;  ///< one line
  /// Those of the command's own options that it takes.
  std::vector<std::string> options;
  std::vector<std::string> settings;
  ExitCode (*run)(const Command& command, std::span<const std::string> arguments);
};

Benchmark scaling_benchmark();
Benchmark all_reduce_benchmark();
Benchmark step_benchmark();
Benchmark input_benchmark();
Benchmark checkpoint_benchmark();

/// A benchmark of ranks together, in the job that mpirun has started, or else in one on this
/// machine: of --ranks ranks, or of so many as `default_ranks` says. One rank needs no mpirun.
/// `measure` is collective. `command` accepts what the benchmark does.
ExitCode run_together(const Command& command, const std::string& benchmark,
                      std::span<const std::string> arguments,
                      int (*default_ranks)(const Settings& settings),
                      const std::function<ExitCode(Session& session)>& measure);

/// Of an option that was given: a whole number within bounds, or else the default. Throws
/// Error{kUsage}.
int option_or(const ParsedSettings& parsed, const std::string& name, int fallback, int low,
              int high);

/// What the record of every benchmark begins with: its name, time, versions and machine.
nlohmann::ordered_json benchmark_record(const std::string& name, const Settings& settings);

}  // namespace lockstep
