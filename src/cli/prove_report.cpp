#include "prove_report.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <bit>
#include <nlohmann/json.hpp>
#include <sstream>

#include "lockstep/base/hash.h"
#include "lockstep/base/text.h"
#include "lockstep/checkpoint/store.h"
#include "lockstep/train/checkpoint_reader.h"

namespace lockstep {

namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kColumns = 80;

std::string ranks_text(const ProofRun& run) { return fmt::format("{}", fmt::join(run.ranks, ",")); }

int most_ranks(const Proof& proof) {
  int most = 1;
  for (const ProofRun& run : proof.runs) most = std::max(most, std::ranges::max(run.ranks));
  return most;
}

int least_ranks(const Proof& proof) {
  int least = proof.runs[0].ranks[0];
  for (const ProofRun& run : proof.runs) least = std::min(least, std::ranges::min(run.ranks));
  return least;
}

// "threads=1" and the like, where the two have something else.
std::vector<std::string> words_not_in(const std::string& text, const std::string& other) {
  const auto words = [](const std::string& line) {
    std::istringstream stream(line);
    return std::vector<std::string>(std::istream_iterator<std::string>(stream), {});
  };
  const auto others = words(other);
  std::vector<std::string> result;
  for (const std::string& word : words(text)) {
    // The number of ranks has a reason of its own.
    if (!word.starts_with("ranks=") && std::ranges::find(others, word) == others.end()) {
      result.push_back(word);
    }
  }
  return result;
}

void add_reasons_of_the_computation(const Proof& proof, const ProofRun& run,
                                    std::vector<std::string>& reasons) {
  const Settings& settings = proof.settings;
  const auto shards = std::bit_ceil(static_cast<unsigned>(most_ranks(proof)));
  if (run.numerics.starts_with("cpu")) {
    if (settings.train.virtual_ranks == 0 && settings.model.threads != 1) {
      reasons.emplace_back("sums over several threads may depend on timing: try --threads 1");
    }
  } else {
    reasons.emplace_back(
        "a kernel of the GPU may have no deterministic form: look for one in the network");
    if (settings.train.virtual_ranks == 0 && shards > 1 && settings.comm.backend != "mpi") {
      reasons.push_back(fmt::format(
          "NCCL chooses the order in which it sums, and may choose another one in another run: try "
          "--virtual-ranks {}",
          shards));
    }
  }
  reasons.emplace_back(
      "the network may keep something between two forward passes, or draw random numbers from "
      "elsewhere than its StepContext or LibTorch's default generator");
}

Json to_json(const ProofRun& run, const Difference& difference) {
  Json json{{"run", run.name},           {"step", run.comparison.step},
            {"file", difference.file},   {"place", difference.place},
            {"first", difference.first}, {"second", difference.second}};
  if (difference.elements > 0) {
    json["differing_elements"] = difference.differing;
    json["elements"] = difference.elements;
  }
  if (difference.tensors > 0) {
    json["differing_tensors"] = difference.differing_tensors;
    json["tensors"] = difference.tensors;
  }
  return json;
}

// The runs that have the same file, and its content, in two lines.
std::string sha256_lines(const Proof& proof) {
  std::map<std::string, std::vector<std::pair<std::string, std::string>>> groups;
  for (const ProofRun& run : proof.runs) {
    for (const auto& [file, digest] : run.sha256) {
      auto& contents = groups[file];
      const auto same =
          std::ranges::find(contents, digest, &std::pair<std::string, std::string>::second);
      if (same == contents.end()) {
        contents.emplace_back(run.name, digest);
      } else {
        same->first += " = " + run.name;
      }
    }
  }
  std::string text;
  for (const auto& [file, contents] : groups) {
    for (const auto& [names, digest] : contents) {
      text += fmt::format("{} of {}\n  {}\n", file, names, digest);
    }
  }
  return text;
}

std::string difference_text(const Proof& proof, const ProofRun& run) {
  const std::string& first = proof.runs[0].name;
  const Comparison& comparison = run.comparison;
  std::string text;
  if (!run.failure.empty()) {
    text += wrapped(fmt::format("{} ended after step {}: {}", run.name, run.last_step, run.failure),
                    2, kColumns);
  }
  if (&run == &proof.runs[0]) {
    if (!run.failure.empty()) text += "  so that there is nothing to compare with\n";
    return text;
  }
  if (comparison.equal()) return text;
  text +=
      fmt::format("{} differs from {}, first after step {}:\n", run.name, first, comparison.step);
  for (const Difference& difference : comparison.differences) {
    text += wrapped(fmt::format("  {}: {}: {} in {}, {} in {}", difference.file, difference.place,
                                difference.first, first, difference.second, run.name),
                    4, kColumns);
    if (difference.elements > 0) {
      text += fmt::format("    {} of the tensor's {} elements differ; {} of {} tensors\n",
                          format_count(difference.differing), format_count(difference.elements),
                          difference.differing_tensors, difference.tensors);
    }
  }
  text += "  likely because\n";
  for (const std::string& reason : likely_reasons(proof, run))
    text += wrapped("  - " + reason, 4, kColumns);
  return text;
}

}  // namespace

bool Proof::holds() const {
  return std::ranges::all_of(
      runs, [](const ProofRun& run) { return run.failure.empty() && run.comparison.equal(); });
}

void read_facts(ProofRun& run) {
  const auto checkpoints = CheckpointStore(run.directory / "checkpoints").list();
  if (checkpoints.empty()) return;
  const CheckpointStore::Loaded last = load_checkpoint(checkpoints.back().second);
  run.last_step = last.global_step;
  run.numerics = read_state(last).numerics;
  for (const auto& [name, bytes] : last.files) {
    if (name.ends_with(".safetensors")) run.sha256[name] = sha256_hex(bytes);
  }
}

std::vector<std::string> likely_reasons(const Proof& proof, const ProofRun& run) {
  const ProofRun& first = proof.runs[0];
  const Settings& settings = proof.settings;
  const std::int64_t step = run.comparison.step;
  std::vector<std::string> reasons;
  if (!settings.comm.inject_fault.empty() && run.name == "B") {
    reasons.push_back(fmt::format("a fault was injected into {} on purpose: {}", run.name,
                                  settings.comm.inject_fault));
  }
  const auto ours = words_not_in(first.numerics, run.numerics);
  const auto theirs = words_not_in(run.numerics, first.numerics);
  // A run that diverged before its first checkpoint says nothing of what computed it.
  const bool both_known = !first.numerics.empty() && !run.numerics.empty();
  if (both_known && (!ours.empty() || !theirs.empty())) {
    reasons.push_back(fmt::format("{} was computed with {}, {} with {}", first.name,
                                  fmt::join(ours, " "), run.name, fmt::join(theirs, " ")));
  }
  const bool other_ranks = run.ranks.back() != first.ranks.back();
  if (other_ranks && settings.train.batch_size_per_rank > 0) {
    reasons.emplace_back(
        "--batch-size-per-rank makes the global batch depend on the number of ranks: use "
        "--batch-size");
  }
  if (other_ranks && settings.schedule.scale_with_world) {
    reasons.emplace_back("--scale-learning-rate makes the rate depend on the number of ranks");
  }
  if (other_ranks && settings.train.virtual_ranks == 0) {
    const auto shards = std::bit_ceil(static_cast<unsigned>(most_ranks(proof)));
    reasons.push_back(fmt::format(
        "without --virtual-ranks the order in which gradients are summed follows from the number "
        "of ranks, so a difference is expected; --virtual-ranks {} gives the same bits on 1 to {} "
        "ranks",
        shards, shards));
  }
  if (!reasons.empty()) return reasons;
  if (proof.resume && step > proof.stop_at) {
    reasons.push_back(fmt::format(
        "all was equal up to step {}, where {} was stopped: something that decides about the "
        "numbers is in memory and not in the checkpoint, for example a network with state outside "
        "its parameters",
        proof.stop_at, run.name));
  } else if (proof.resume) {
    reasons.push_back(fmt::format(
        "{} had not been stopped yet: the same run made twice differs, not its resume", run.name));
  }
  add_reasons_of_the_computation(proof, run, reasons);
  return reasons;
}

std::string proof_table(const Proof& proof) {
  const Settings& settings = proof.settings;
  std::string text =
      wrapped(fmt::format("lockstep prove {}: {}, {} steps, {} an epoch, {}, {}",
                          proof.resume ? "resume" : "ranks", settings.model.name, proof.steps,
                          proof.epoch_steps,
                          settings.train.virtual_ranks > 0
                              ? fmt::format("{} virtual ranks", settings.train.virtual_ranks)
                              : std::string("no virtual ranks"),
                          fmt::join(words_not_in(proof.runs[0].numerics, ""), " ")),
              2, kColumns);
  if (settings.model.threads == 0 && most_ranks(proof) > least_ranks(proof)) {
    text += wrapped(
        "  Every run has as many threads a rank as this job's ranks leave to each. A job of fewer "
        "ranks would take more by itself and have other numbers: --threads sets them for good.",
        2, kColumns);
  }
  text += "\n";
  text += fmt::format("run  {:<40}  {:>7}  {:>6}  {:>8}\n", "what", "ranks", "steps", "seconds");
  for (const ProofRun& run : proof.runs) {
    text += fmt::format("{:<3}  {:<40}  {:>7}  {:>6}  {:>8.1f}\n", run.name, run.what,
                        ranks_text(run), run.last_step, run.seconds);
  }
  text += "\nSHA-256 at the end\n" + sha256_lines(proof) + "\n";
  for (const ProofRun& run : proof.runs) text += difference_text(proof, run);
  if (!proof.holds()) return text + "not proved\n";
  const Comparison& compared = proof.runs[1].comparison;
  return text +
         wrapped(fmt::format("equal in every bit: all tensors and the state of {} checkpoints, {} "
                             "metrics, {} decisions",
                             compared.checkpoints, compared.metrics, compared.decisions),
                 2, kColumns);
}

std::string proof_json(const Proof& proof) {
  Json runs = Json::array(), differences = Json::array();
  for (const ProofRun& run : proof.runs) {
    runs.push_back({{"name", run.name},
                    {"what", run.what},
                    {"ranks", run.ranks},
                    {"steps", run.last_step},
                    {"seconds", run.seconds},
                    {"failure", run.failure},
                    {"numerics", run.numerics},
                    {"sha256", run.sha256}});
    for (const Difference& difference : run.comparison.differences) {
      differences.push_back(to_json(run, difference));
      differences.back()["likely_reasons"] = likely_reasons(proof, run);
    }
  }
  Json json{{"proof", proof.resume ? "resume" : "ranks"},
            {"proved", proof.holds()},
            {"model", proof.settings.model.name},
            {"virtual_ranks", proof.settings.train.virtual_ranks},
            {"steps", proof.steps},
            {"epoch_steps", proof.epoch_steps}};
  if (proof.resume) json["stopped_at"] = proof.stop_at;
  json["runs"] = std::move(runs);
  json["differences"] = std::move(differences);
  const Comparison& compared = proof.runs[proof.runs.size() > 1 ? 1 : 0].comparison;
  json["equal"] = {{"checkpoints", compared.checkpoints},
                   {"metrics", compared.metrics},
                   {"decisions", compared.decisions}};
  // Texts of the user's own, as an injected fault, may be no UTF-8.
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace lockstep
