// lockstep doctor: looks at the ranks of a job before they train, or at what a dead job left.
#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <torch/version.h>

#include <algorithm>
#include <functional>

#include "cli/doctor_report.h"
#include "command_line.h"
#include "doctor_ledger.h"
#include "doctor_probe.h"
#include "launcher.h"
#include "lockstep/base/clock.h"
#include "lockstep/base/hash.h"
#include "lockstep/base/text.h"
#include "lockstep/comm/decorators.h"
#include "lockstep/comm/launcher.h"
#include "lockstep/comm/together.h"
#include "lockstep/records/run_directory.h"
#include "session.h"

namespace lockstep {

namespace {

constexpr double kTimeout = 20;
constexpr std::int64_t kMostLinkBytes = 1 << 20;
constexpr double kLongestLinkMessage = 0.1;

void find_versions(RankFacts& facts) {
  // The compiled-in version is equal wherever the binary is; what it was linked with at its start
  // may be another one.
  std::string config = at::show_config();
  if (const std::size_t at = config.find("CPU capability usage"); at != std::string::npos) {
    config.erase(at, config.find('\n', at) - at);  // the machine's, not the library's
  }
  facts.versions["LibTorch"] =
      fmt::format("{} ({})", TORCH_VERSION, sha256_hex(config).substr(0, 8));
  facts.versions["MPI"] = mpi_version();
  facts.versions["compiler"] = LOCKSTEP_COMPILER;
  facts.versions["lockstep"] = LOCKSTEP_VERSION;
}

void find_data(RankFacts& facts, const DataOptions& options,
               const std::function<void()>& progress) {
  try {
    const Dataset training = load_training(options, progress);
    facts.data = fmt::format("{} images of {}, {}", format_count(training.count),
                             shape_text(training), training.source);
    facts.data_sha256 = training.sha256();
    progress();
    if (const auto test = load_test(options, progress)) {
      require_same_shape(*test, training);
      facts.test_sha256 = test->sha256();
      progress();
    }
  } catch (const Error& error) {
    facts.data_code = static_cast<int>(error.code());
    facts.data_problem = error.what();
  }
}

// The ranks of a job, looked at together. The examination fills up on the root.
class Doctor {
 public:
  Doctor(World& world, const Settings& settings, FaultPlan faults, DiskProbe ledger)
      : world_(world), settings_(settings), faults_(std::move(faults)) {
    facts_.rank = world.rank();
    facts_.host = world.host();
    facts_.ledger = std::move(ledger);
    seen.started = utc_timestamp();
  }

  void examine() {
    if (facts_.ledger.tested.empty()) {
      facts_.ledger = probe_directory(world_.ledger().path().parent_path());
    }
    world_.publish_progress();
    find_system_facts(facts_);  // with the program's SHA-256
    world_.publish_progress();
    find_versions(facts_);
    facts_.settings = settings_to_ini(settings_);
    const bool comparable = settings_are_equal();
    if (comparable) {
      const std::optional<int> gpu = choose_gpu(world_, settings_);
      together(world_, [&] {
        device_ = prepare_compute_device(settings_.model, world_.local_size(), gpu);
      });
      facts_.threads = at::get_num_threads();
      facts_.device =
          device_.is_cuda() ? numerical_identity(device_, {}) : "cpu " + at::get_cpu_capability();
    }
    world_.enter_phase(Phase::kDataCheck);
    faults_.reach(FaultPlace::kLoad, world_.rank());
    find_data(facts_, settings_.data, [this] { world_.publish_progress(); });
    for (const std::string& text : world_.gather_text(to_text(facts_))) {
      seen.ranks.push_back(facts_from_text(text));
    }
    if (world_.is_root()) {
      seen.out = probe_directory(output_directory());
      find_refusals();
    }
    world_.enter_phase(Phase::kEvaluation);
    seen.clocks = read_clocks(world_);
    if (comparable) {
      measure();
    } else {
      seen.notes.emplace_back(
          "Devices, computing and connections were not looked at: the settings "
          "differ.");
    }
  }

  Examination seen;

 private:
  bool settings_are_equal() {
    const auto digests = world_.all_gather_value(sha256(std::as_bytes(std::span(facts_.settings))));
    return std::ranges::all_of(digests, [&](const auto& digest) { return digest == digests[0]; });
  }

  std::filesystem::path output_directory() const {
    return settings_.train.out.empty() ? std::filesystem::path("runs") : settings_.train.out;
  }

  // What a training with these settings would refuse on this world and in this place.
  void find_refusals() {
    const auto refuse = [this](ExitCode code, std::string text) {
      seen.findings.push_back({Finding::Level::kFailure, code, std::move(text)});
    };
    const TrainOptions& train = settings_.train;
    if (const std::string problem = virtual_ranks_problem(train.virtual_ranks, world_.size());
        !problem.empty()) {
      refuse(ExitCode::kUsage, problem);
    }
    if (train.out.empty()) return;
    const std::string place =
        fmt::format("--out on rank {} ({})", world_.rank(), world_.host());
    if (const auto user = RunDirectory::user(train.out)) {
      return refuse(ExitCode::kCannotCreate,
                    fmt::format("{}: {}: is in use by {}", place, train.out.string(), *user));
    }
    if (train.resume != "none") return;
    for (const char* name : {"config.ini", "metrics.jsonl", "checkpoints"}) {
      std::error_code ignored;
      if (!std::filesystem::exists(std::filesystem::symlink_status(train.out / name, ignored))) {
        continue;
      }
      return refuse(ExitCode::kCannotCreate,
                    fmt::format("{}: {} holds a run already ({}): train needs --resume auto or "
                                "another --out",
                                place, train.out.string(), name));
    }
  }

  void measure() {
    std::unique_ptr<Collectives> collectives;
    together(world_, [&] {
      faults_.check_ranks(world_.size());
      collectives = make_collectives(world_, settings_.comm, device_.is_cuda(), device_.stream);
      if (!faults_.empty()) {
        collectives = make_faulty(std::move(collectives), faults_, world_.rank());
      }
    });
    seen.backend = collectives->backend();
    seen.computing = time_computing(world_, device_, faults_);
    if (world_.size() == 1) return;
    // As a training has its gradients.
    const std::shared_ptr<std::byte> memory = collectives->allocate(kLargestSum);
    seen.shared_memory = memory != nullptr;
    seen.all_reduces = time_all_reduce(world_, *collectives, device_, memory.get());
    std::int64_t bytes = 4096;
    for (const AllReduceTime& row : seen.all_reduces) {
      if (row.seconds <= kLongestLinkMessage) bytes = std::clamp(row.bytes, bytes, kMostLinkBytes);
    }
    seen.links = time_links(world_, *collectives, device_, bytes);
  }

  World& world_;
  const Settings& settings_;
  FaultPlan faults_;
  RankFacts facts_;
  ComputeDevice device_;
};

ExitCode examine(const Command& command, std::span<const std::string> arguments) {
  std::optional<World::Failure> failure;
  const ParsedSettings parsed = parse_or_defaults(command, arguments, failure);
  const Settings& settings = parsed.settings;
  CommOptions options = settings.comm;
  if (parsed.sources.empty() || parsed.sources.at("collective-timeout") == Source::kDefault) {
    options.collective_timeout = kTimeout;
  }
  // Whether the directory for ledgers can be used is a finding. This job's own go elsewhere: those
  // in it are another job's, alive or dead, and may be what someone is about to read.
  DiskProbe ledger;
  if (!options.ledger_dir.empty()) ledger = probe_directory(options.ledger_dir);
  options.ledger_dir.clear();

  const bool launched = launched_rank() >= 0;  // asked before MPI, which pretends to be a launcher
  FaultPlan faults = FaultPlan::parse(options.inject_fault);
  World world = start_world(options, faults);
  init_logging(log_level(settings.train.log_level), world.rank(), world.size());
  reporting(world, [&] { agree_or_throw(world, failure); });
  if (!faults.empty() && world.is_root()) {
    log_warning("FAULTS ARE INJECTED ON PURPOSE: {}", faults.text());
  }

  Doctor doctor(world, settings, faults, ledger);
  const auto report = [&] {
    print_or_fail(parsed.options.contains("json") ? report_json(doctor.seen)
                                                  : report_text(doctor.seen));
  };
  if (!launched) {
    doctor.seen.notes.push_back(fmt::format(
        "A job of one rank. To look at all ranks, start it as the training: mpirun -n RANKS {} "
        "doctor [SETTINGS]",
        own_program().string()));
  }
  try {
    doctor.examine();
  } catch (const Error& error) {
    if (world.is_root()) {
      doctor.seen.findings.push_back({Finding::Level::kFailure, error.code(), error.what()});
      report();
    }
    if (dynamic_cast<const AgreedError*>(&error) != nullptr) return error.code();
    if (world.is_root()) World::end_job(error.code());
    throw;
  }
  int code = 0;
  if (world.is_root()) {
    code = static_cast<int>(exit_code_of(find_problems(doctor.seen)));
    report();
  }
  return static_cast<ExitCode>(world.broadcast_value(code));
}

ExitCode run_doctor(const Command& command, std::span<const std::string> arguments) {
  if (std::ranges::any_of(arguments, [](const std::string& argument) {
        return argument == "--ledger" || argument.starts_with("--ledger=");
      })) {
    const ParsedSettings parsed = parse_settings(arguments, command.accepts);
    // Under mpirun every rank would say the same.
    if (launched_rank() > 0) return ExitCode::kDone;
    print_or_fail(explain_ledgers(parsed.options.at("ledger"), parsed.options.contains("json")));
    return ExitCode::kDone;
  }
  return examine(command, arguments);
}

}  // namespace

Command doctor_command() {
  Command train = train_command();
  return {.name = "doctor",
          .summary = "check the ranks of a job, or explain a dead one from its ledgers",
          .accepts = {.options = {{"ledger", "DIR",
                                   "explain the job whose ledgers lie in or below DIR (without "
                                   "mpirun)"},
                                  {"json", "", "print one JSON object"}},
                      .settings = {},
                      .models = std::move(train.accepts.models),
                      .defaults = {{"collective-timeout", fmt::format("{:.0f}", kTimeout)}}},
          .run = run_doctor};
}

}  // namespace lockstep
