// lockstep prove: the same training made in different ways, and compared bit by bit.
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdio>

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

// Powers of two up to as many ranks as there are places and, with virtual ranks, shards.
std::vector<int> default_ranks(bool resume, int places, int virtual_ranks) {
  if (virtual_ranks > 0) places = std::min(places, virtual_ranks);
  if (resume) return {places};
  std::vector<int> ranks{1};
  while (ranks.back() <= places / 2) ranks.push_back(2 * ranks.back());
  return ranks;
}

/// world_size: of the job this process is in; 0: it is in none.
ProofPlan make_plan(const std::string& kind, const ParsedSettings& parsed, int world_size) {
  ProofPlan plan;
  plan.resume = kind == "resume";
  if (!plan.resume && kind != "ranks") {
    fail(ExitCode::kUsage, "lockstep prove: name what to prove: resume or ranks");
  }
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

ExitCode prove(Session& session, const std::string& kind) {
  World& world = session.world();
  ProofPlan plan;
  together(world, [&] { plan = make_plan(kind, session.parsed(), world.size()); });
  const Proof proof = make_proof(session, plan);
  together(world, [&] {
    if (!world.is_root()) return;
    const std::string text = plan.json ? proof_json(proof) : proof_table(proof);
    std::fputs(text.c_str(), stdout);
    if (std::fflush(stdout) != 0)
      fail(ExitCode::kInputOutput, "standard output: cannot be written");
  });
  return world.broadcast_value(proof.holds()) ? ExitCode::kDone : ExitCode::kDiverged;
}

// From outside of any job: starts one of as many ranks as the largest run has.
ExitCode prove_in_a_job(const std::string& kind, std::span<const std::string> arguments,
                        const Command& command) {
  const ParsedSettings parsed = parse_settings(arguments, command.accepts);
  const ProofPlan plan = make_plan(kind, parsed, 0);
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
  const int code = run_job(plan.most_ranks(), words, JobOutput::kInherited).exit_code;
  if (describe(static_cast<ExitCode>(code)) == "unknown") {
    fail(ExitCode::kUnavailable, "the job of {} ranks ended with code {}", plan.most_ranks(), code);
  }
  return static_cast<ExitCode>(code);
}

ExitCode run_prove(const Command& command, std::span<const std::string> arguments) {
  const bool named = !arguments.empty() && !arguments[0].starts_with("--");
  const std::string kind = named ? arguments[0] : "";
  const auto rest = arguments.subspan(named ? 1 : 0);
  if (mpi_job_rank() < 0) return prove_in_a_job(kind, rest, command);
  Session session(command, rest);
  return reporting(session.world(), [&] { return prove(session, kind); });
}

// Everything that has a meaning in a run that is bounded, begins anew and writes elsewhere.
std::vector<std::string> accepted_settings() {
  const std::vector<std::string> others{"resume",
                                        "out",
                                        "max-steps",
                                        "max-minutes",
                                        "log-every-steps",
                                        "keep-checkpoints",
                                        "checkpoint-every-epochs",
                                        "checkpoint-every-steps"};
  std::vector<std::string> accepted;
  for (const auto& [name, source] : parse_settings({}).sources) {
    if (std::ranges::find(others, name) == others.end()) accepted.push_back(name);
  }
  return accepted;
}

}  // namespace

Command prove_command() {
  CommandLine accepts;
  accepts.options = {
      {"steps", "N",
       "length of the runs, in two epochs that are cut short (an epoch's first steps and its last "
       "one), each with its validation; default 20"},
      {"stop-at", "N",
       "resume: the step after which the run is stopped; default: in the second "
       "epoch's middle"},
      {"ranks", "LIST",
       "ranks: numbers of ranks to compare, e.g. 1,2,4; resume: the number of ranks, and if it "
       "changes that of the resumed part, e.g. 4,1"},
      {"keep", "DIR", "keep the runs there, in a directory that is new or empty"},
      {"json", "", "print one JSON object"}};
  accepts.settings = accepted_settings();
  for (const NetworkEntry& entry : registered_networks()) accepts.models.push_back(entry.name);
  return {.name = "prove",
          .summary = "show that a stop, or the number of ranks, changes no bit: resume, ranks",
          .accepts = std::move(accepts),
          .run = run_prove};
}

}  // namespace lockstep
