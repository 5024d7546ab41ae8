#include "inspect_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <system_error>

#include "lockstep/base/text.h"
#include "lockstep/checkpoint/store.h"
#include "lockstep/train/checkpoint_reader.h"

namespace lockstep {

namespace {

namespace fs = std::filesystem;

RunCheckpoint look_at(std::int64_t global_step, const fs::path& directory) {
  RunCheckpoint facts{.name = directory.filename().string(), .global_step = global_step};
  try {
    const TrainingState state = read_state(load_checkpoint(directory));
    facts.epoch = state.cursor.epoch;
    facts.stop_reason = state.stop_reason;
  } catch (const Error& error) {
    facts.problem = error.what();
    facts.code = error.code();
  }
  return facts;
}

std::vector<RunCheckpoint> checkpoints_of(const fs::path& directory) {
  std::vector<RunCheckpoint> checkpoints;
  if (!has_store(directory)) return checkpoints;
  const CheckpointStore store(directory);
  const auto best = store.best();
  for (const auto& [step, path] : store.list()) {
    RunCheckpoint checkpoint = look_at(step, path);
    // A run that goes on removes those that it no longer keeps.
    std::error_code ignored;
    if (!checkpoint.problem.empty() && !fs::exists(path, ignored)) continue;
    checkpoint.best = checkpoint.problem.empty() && best && best->filename() == checkpoint.name;
    checkpoints.push_back(std::move(checkpoint));
  }
  const auto newest =
      std::find_if(checkpoints.rbegin(), checkpoints.rend(),
                   [](const RunCheckpoint& checkpoint) { return checkpoint.problem.empty(); });
  if (newest != checkpoints.rend()) newest->newest = true;
  return checkpoints;
}

std::vector<std::string> set_aside_in(const fs::path& directory) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator entry(directory, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (name.find(".damaged") != std::string::npos ||
        name.find(".superseded") != std::string::npos) {
      names.push_back(name);
    }
  }
  std::ranges::sort(names);
  return names;
}

// Why a run that stopped did so.
std::string stop_text(const RunFacts& facts) {
  const RunCheckpoint* last = facts.newest();
  if (last == nullptr) return "killed or failed, without a checkpoint";
  if (last->global_step >= facts.history.last_step()) {
    switch (last->stop_reason) {
      case StopReason::kPreempted:
        return "preempted (SIGUSR1)";
      case StopReason::kInterrupted:
        return "interrupted (SIGUSR2, or launch/train was)";
      case StopReason::kLimit:
        return "the limit on steps or minutes was reached";
      case StopReason::kDone:
        return "trained to the end, without what comes after it";
      case StopReason::kNone:
        break;
    }
  }
  return fmt::format("killed or failed; it can go on from step {}",
                     format_count(last->global_step));
}

}  // namespace

const RunCheckpoint* RunFacts::newest() const {
  const auto found = std::ranges::find(checkpoints, true, &RunCheckpoint::newest);
  return found == checkpoints.end() ? nullptr : &*found;
}

std::int64_t RunFacts::last_step() const {
  const RunCheckpoint* checkpoint = newest();
  return std::max(history.last_step(), checkpoint == nullptr ? 0 : checkpoint->global_step);
}

std::string RunFacts::end_text() const {
  std::string text = history.status_text(last_step());
  if (history.status == report::Status::kStopped) text += ": " + stop_text(*this);
  if (history.status == report::Status::kDone && !history.decisions.empty() &&
      history.decisions.back().stop) {
    text += ": " + history.decisions.back().reason;
  }
  if (!history.skips.empty()) {
    text += fmt::format("; {} updates skipped, their gradient not being finite",
                        format_count(static_cast<std::int64_t>(history.skips.size())));
  }
  return text;
}

ExitCode RunFacts::code() const {
  for (const RunCheckpoint& checkpoint : checkpoints) {
    if (checkpoint.code != ExitCode::kDone) return checkpoint.code;
  }
  return ExitCode::kDone;
}

bool looks_like_run(const fs::path& directory) {
  std::error_code error;
  return fs::exists(directory / "metrics.jsonl", error) ||
         fs::exists(directory / "config.ini", error);
}

RunFacts inspect_run(const fs::path& directory) {
  const fs::path checkpoints = directory / "checkpoints";
  return {.history = report::read_history(directory),
          .checkpoints = checkpoints_of(checkpoints),
          .set_aside = set_aside_in(checkpoints)};
}

}  // namespace lockstep
