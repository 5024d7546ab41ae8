// lockstep prove: the same training made in different ways, and compared bit by bit.
#include <fmt/ranges.h>

#include <algorithm>
#include <bit>

#include "command_line.h"
#include "job_options.h"
#include "launcher.h"
#include "lockstep/base/cast.h"
#include "lockstep/comm/launcher.h"
#include "lockstep/comm/together.h"
#include "prove_report.h"
#include "prove_runs.h"
#include "scratch_directory.h"
#include "session.h"

namespace lockstep {

namespace {

constexpr int kMostSteps = 1'000'000;

// Powers of two up to as many ranks as there are places and, with virtual ranks, shards; a resume
// takes all places, or with virtual ranks the largest power of two.
std::vector<int> default_ranks(bool resume, int places, int virtual_ranks) {
  if (virtual_ranks > 0) {
    places =
        static_cast<int>(std::bit_floor(static_cast<unsigned>(std::min(places, virtual_ranks))));
  }
  if (resume) return {places};
  std::vector<int> ranks{1};
  while (ranks.back() <= places / 2) ranks.push_back(2 * ranks.back());
  return ranks;
}

// Why there is only one number of ranks to choose from.
std::string why_one(const Settings& settings, int world_size) {
  if (settings.train.virtual_ranks == 1) {
    return "--virtual-ranks 1 allows one rank only: set more of them";
  }
  if (world_size > 0) return "this job has one rank: start it with mpirun -n 2 or more";
  return "this machine has one GPU, which ranks cannot share: set --device cpu";
}

/// world_size: of the job this process is in; 0: it is in none.
ProofPlan make_plan(const Command& command, const std::string& kind, const ParsedSettings& parsed,
                    int world_size) {
  ProofPlan plan;
  require_kind(command, kind);
  plan.resume = kind == "resume";
  const auto option = [&](const char* name) -> const std::string* {
    const auto found = parsed.options.find(name);
    return found == parsed.options.end() ? nullptr : &found->second;
  };
  if (const std::string* steps = option("steps")) {
    plan.steps = to_int(*steps, "steps", 2, kMostSteps);
  }
  if (const std::string* step = option("stop-at")) {
    if (!plan.resume) fail(ExitCode::kUsage, "--stop-at: only lockstep prove resume stops");
    plan.stop_at = to_int(*step, "stop-at", 1, checked_cast<int>(plan.steps - 1));
  }
  if (const std::string* list = option("ranks")) {
    plan.ranks = parse_ranks(*list);
  } else {
    // Two ranks are enough to meet all that several have to agree on; they may share a core, but
    // no GPU.
    const int own = gpus_for(parsed.settings) == 1 ? 1 : 2;
    plan.ranks = default_ranks(plan.resume, world_size > 0 ? world_size : own,
                               parsed.settings.train.virtual_ranks);
    if (!plan.resume && plan.ranks.size() < 2) {
      fail(ExitCode::kUsage, "lockstep prove ranks: nothing to compare: {}",
           why_one(parsed.settings, world_size));
    }
  }
  if (plan.resume && plan.ranks.size() > 2) {
    fail(ExitCode::kUsage,
         "--ranks: expected a number of ranks, or two: of the run and of its resumed part");
  }
  if (!plan.resume && plan.ranks.size() < 2) {
    fail(ExitCode::kUsage, "--ranks: expected at least two numbers of ranks to compare");
  }
  if (world_size > 0 && plan.most_ranks() > world_size) {
    fail(ExitCode::kUsage, "--ranks: {} ranks are wanted, but the job has {}", plan.most_ranks(),
         world_size);
  }
  plan.json = option("json") != nullptr;
  if (const std::string* keep = option("keep")) plan.keep = *keep;
  return plan;
}

ExitCode prove(Session& session, const Command& command, const std::string& kind) {
  World& world = session.world();
  ProofPlan plan;
  together(world, [&] { plan = make_plan(command, kind, session.parsed(), world.size()); });
  const Proof proof = make_proof(session, plan);
  together(world, [&] {
    if (world.is_root()) print_or_fail(plan.json ? proof_json(proof) : proof_table(proof));
  });
  return world.broadcast_value(proof.holds()) ? ExitCode::kDone : ExitCode::kDiverged;
}

// From outside of any job: starts one of as many ranks as the largest run has.
ExitCode prove_in_a_job(const std::string& kind, std::span<const std::string> arguments,
                        const Command& command) {
  require_kind(command, kind);  // before options that may be those of something else
  const ParsedSettings parsed = parse_settings(arguments, command.accepts);
  const ProofPlan plan = make_plan(command, kind, parsed, 0);
  std::vector<std::string> words{"prove", kind};
  words.insert(words.end(), arguments.begin(), arguments.end());
  if (!parsed.options.contains("ranks")) {
    words.push_back(fmt::format("--ranks={}", fmt::join(plan.ranks, ",")));
  }
  // Here, so that it is removed however the job ends.
  std::optional<ScratchDirectory> scratch;
  if (plan.keep.empty()) {
    scratch.emplace("prove");
    words.push_back("--keep=" + scratch->path().string());
  }
  const int ranks = plan.most_ranks();
  return exit_code_of(run_job(ranks, words, JobOutput::kPassedOn), ranks);
}

ExitCode run_prove(const Command& command, std::span<const std::string> arguments) {
  std::vector<std::string> rest(arguments.begin(), arguments.end());
  const std::string kind = take_kind(command, rest);
  if (mpi_job_rank() < 0) return prove_in_a_job(kind, rest, command);
  Session session(command, rest);
  return reporting(session.world(), [&] { return prove(session, command, kind); });
}

}  // namespace

Command prove_command() {
  CommandLine accepts;
  accepts.options = {
      {"steps", "N",
       "length of the runs: two epochs that are cut short (an epoch's first steps and its last "
       "one), each with its validation; one epoch with --epochs 1, more epochs where they are "
       "shorter than half of it; default 20"},
      {"stop-at", "N",
       "resume: the step after which the run is stopped; default: in the middle of what follows "
       "the first epoch, or of the only one"},
      {"ranks", "LIST",
       "ranks: numbers of ranks to compare, e.g. 1,2,4; resume: the number of ranks, and if it "
       "changes that of the resumed part, e.g. 4,1"},
      {"keep", "DIR",
       "keep the runs there, in a directory that is new or empty; default: below $TMPDIR or /tmp, "
       "and removed at the end. Each run takes a checkpoint a step"},
      {"json", "", "print one JSON object"}};
  // Everything that has a meaning in a run that is bounded, begins anew and writes elsewhere.
  accepts.settings = settings_except(
      {"resume", "out", "max-steps", "max-minutes", "log-every-steps", "keep-checkpoints",
       "checkpoint-every-epochs", "checkpoint-every-steps", "ledger-dir"});
  for (const NetworkEntry& entry : registered_networks()) accepts.models.push_back(entry.name);
  return {.name = "prove",
          .summary = "show that a stop, or the number of ranks, changes no bit: resume, ranks",
          .accepts = std::move(accepts),
          .kinds = {{"resume", "a run that is stopped and resumed, and one that is not"},
                    {"ranks", "the same run with several numbers of ranks (virtual ranks)"}},
          .run = run_prove};
}

}  // namespace lockstep
