// lockstep bench: finds the benchmark and starts the ranks it needs.
#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

#include "bench.h"
#include "job_options.h"
#include "launcher.h"
#include "lockstep/base/clock.h"
#include "lockstep/comm/launcher.h"
#include "lockstep/comm/together.h"
#include "lockstep/model/compute_device.h"

namespace lockstep {

namespace {

std::vector<Benchmark> benchmarks() {
  return {scaling_benchmark(), all_reduce_benchmark(), step_benchmark(), input_benchmark(),
          checkpoint_benchmark()};
}

const std::vector<CommandOption>& all_options() {
  static const std::vector<CommandOption> options{
      {"ranks", "LIST",
       "numbers of ranks, started on this machine. scaling: several, e.g. 1,2,4; default: powers "
       "of two up to the GPUs, else the cores. Others, without mpirun: one number; default: "
       "allreduce: the GPUs, else the cores; step and checkpoint: 1"},
      {"rounds", "N",
       "scaling: repetitions, interleaved; the median counts; default 3. allreduce: repetitions of "
       "each size; default: what takes a quarter of a second, at least 5. input: passes over the "
       "data; checkpoint: checkpoints; the median counts; default 5"},
      {"steps", "N",
       "scaling: steps of one job, of which the second half counts; step: half of so many to warm "
       "up, then half of them as they are and as many timed by layer, in turns; default 40. "
       "checkpoint: steps from one checkpoint to the next; default 20"},
      {"predict", "LIST",
       "scaling: numbers of ranks whose efficiency is foreseen from one rank's steps and the "
       "links; "
       "default 8,16,32,64,128,256,512,1024"},
      {"link-latency", "US",
       "scaling: microseconds a message takes whatever its size, for the forecast; default: as "
       "measured"},
      {"link-bandwidth", "MBIT",
       "scaling: Mbit/s of a rank's link, for the forecast; default: as measured"},
      {"step-time", "MS",
       "scaling: milliseconds of one rank's step with the global batch; nothing is measured then, "
       "and the links are to be given"},
      {"from", "FILE",
       "scaling: what --json has printed; the forecast is made from that, and nothing is measured"},
      {"picture", "FILE", "scaling: draw rate, efficiency and parts there, as SVG, by gnuplot"},
      {"out", "DIR",
       "checkpoint: directory in which checkpoints are written, and removed; default: the system's "
       "temporary directory"},
      {"min-bytes", "SIZE", "allreduce: smallest message, e.g. 8, 4K or 1M; default 8"},
      {"max-bytes", "SIZE", "allreduce: no message is larger; default 64M"},
      {"factor", "N", "allreduce: from one size to the next; default 2"},
      {"json", "", "print one JSON object"}};
  return options;
}

CommandLine accepted_by(const Benchmark& benchmark) {
  CommandLine accepts;
  for (const CommandOption& option : all_options()) {
    if (std::ranges::find(benchmark.options, option.name) != benchmark.options.end()) {
      accepts.options.push_back(option);
      continue;
    }
    std::vector<std::string> users;
    for (const Benchmark& other : benchmarks()) {
      if (std::ranges::find(other.options, option.name) != other.options.end()) {
        users.push_back(other.name);
      }
    }
    accepts.reasons[option.name] = fmt::format("it belongs to bench {}", fmt::join(users, ", "));
  }
  accepts.settings = benchmark.settings;
  for (const NetworkEntry& entry : registered_networks()) accepts.models.push_back(entry.name);
  return accepts;
}

// What is left when --ranks has been taken out: the words have been parsed before.
std::vector<std::string> without_ranks(std::span<const std::string> arguments) {
  std::vector<std::string> rest;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    if (arguments[i] == "--ranks") {
      ++i;
    } else if (!arguments[i].starts_with("--ranks=")) {
      rest.push_back(arguments[i]);
    }
  }
  return rest;
}

int ranks_to_start(const ParsedSettings& parsed, int (*default_ranks)(const Settings&)) {
  const auto given = parsed.options.find("ranks");
  if (given == parsed.options.end()) return default_ranks(parsed.settings);
  const std::vector<int> ranks = parse_ranks(given->second);
  if (ranks.size() == 1) return ranks[0];
  fail(ExitCode::kUsage, "--ranks {}: expected one number: this benchmark is one job",
       given->second);
}

ExitCode run_bench(const Command& command, std::span<const std::string> arguments) {
  std::vector<std::string> rest(arguments.begin(), arguments.end());
  const std::string kind = take_kind(command, rest);
  require_kind(command, kind);
  for (const Benchmark& benchmark : benchmarks()) {
    if (benchmark.name != kind) continue;
    Command own = command;
    own.accepts = accepted_by(benchmark);
    return benchmark.run(own, rest);
  }
  fail(ExitCode::kInternal, "bench {} is not there", kind);
}

}  // namespace

ExitCode run_together(const Command& command, const std::string& benchmark,
                      std::span<const std::string> arguments,
                      int (*default_ranks)(const Settings& settings),
                      const std::function<ExitCode(Session& session)>& measure) {
  const bool launched = mpi_job_rank() >= 0;  // asked before MPI, which pretends to be a launcher
  if (!launched) {
    const int ranks = ranks_to_start(parse_settings(arguments, command.accepts), default_ranks);
    if (ranks > 1) {
      std::vector<std::string> words = without_ranks(arguments);
      words.insert(words.begin(), {"bench", benchmark});
      return exit_code_of(run_job(ranks, words, JobOutput::kPassedOn), ranks);
    }
  }
  Session session(command, arguments);
  return reporting(session.world(), [&] {
    if (launched && session.parsed().options.contains("ranks")) {
      fail_together(session.world(), ExitCode::kUsage,
                    "--ranks: mpirun has started the ranks already; leave out one of the two");
    }
    return measure(session);
  });
}

int option_or(const ParsedSettings& parsed, const std::string& name, int fallback, int low,
              int high) {
  const auto given = parsed.options.find(name);
  return given == parsed.options.end() ? fallback : to_int(given->second, name, low, high);
}

nlohmann::ordered_json benchmark_record(const std::string& name, const Settings& settings) {
  return {{"benchmark", name},
          {"started", utc_timestamp()},
          {"versions", version_text()},
          {"cores", available_cores()},
          {"gpus", gpus_for(settings)}};
}

Command bench_command() {
  CommandLine accepts;
  accepts.options = all_options();
  std::vector<CommandKind> kinds;
  for (const Benchmark& benchmark : benchmarks()) {
    kinds.push_back({benchmark.name, benchmark.summary});
    for (const std::string& setting : benchmark.settings) {
      if (std::ranges::find(accepts.settings, setting) == accepts.settings.end()) {
        accepts.settings.push_back(setting);
      }
    }
  }
  for (const NetworkEntry& entry : registered_networks()) accepts.models.push_back(entry.name);
  return {.name = "bench",
          .summary = "measure the parts of training on this machine, or on the ranks of a job",
          .accepts = std::move(accepts),
          .kinds = std::move(kinds),
          .run = run_bench};
}

}  // namespace lockstep
