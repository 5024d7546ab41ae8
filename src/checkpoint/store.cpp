#include "lockstep/checkpoint/store.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <iterator>
#include <string_view>
#include <system_error>

#include "checkpoint/directory.h"
#include "lockstep/base/error.h"
#include "lockstep/base/file.h"
#include "lockstep/base/log.h"
#include "lockstep/checkpoint/manifest.h"

namespace lockstep {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kLatest = "LATEST";
constexpr std::string_view kBest = "BEST";
constexpr std::string_view kDamaged = "damaged";
constexpr std::string_view kSuperseded = "superseded";
constexpr std::string_view kPrefix = "step-";
constexpr std::string_view kTemporaryPrefix = ".tmp-step-";
constexpr std::uint64_t kHintLimit = 256;  // bytes
constexpr int kMostTries = 20;             // to read a store that changes meanwhile

std::string step_name(std::int64_t step) { return fmt::format("{}{:08}", kPrefix, step); }

std::optional<std::int64_t> step_of(std::string_view name) {
  if (!name.starts_with(kPrefix)) return std::nullopt;
  const std::string_view digits = name.substr(kPrefix.size());
  std::int64_t step = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), step);
  // One name for one step: what step_name would not write ("step-1", "step-+0000001") is none.
  if (error != std::errc() || step < 0 || step_name(step) != name) return std::nullopt;
  return step;
}

// Names in the directory; none when it does not exist.
std::vector<std::string> names_in(const fs::path& directory) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator entry(directory, error), end; !error && entry != end;
       entry.increment(error)) {
    names.push_back(entry->path().filename().string());
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    fail(ExitCode::kInputOutput, "{}: cannot be listed: {}", directory.string(), error.message());
  }
  return names;
}

// A link is none: what lies elsewhere is not of this store.
bool is_real_directory(const fs::path& path) {
  std::error_code ignored;
  return fs::symlink_status(path, ignored).type() == fs::file_type::directory;
}

// Why no checkpoint can lie there; none where there is a directory.
std::optional<std::string> why_no_directory(const fs::path& path) {
  std::error_code error;
  const fs::file_type type = fs::symlink_status(path, error).type();
  if (type == fs::file_type::none) {
    fail(ExitCode::kInputOutput, "{}: cannot be examined: {}", path.string(), error.message());
  }
  if (type == fs::file_type::directory) return std::nullopt;
  return type == fs::file_type::not_found ? "is gone" : "is not a directory";
}

// What has the name of a checkpoint, of whatever kind, ascending by step.
std::vector<std::pair<std::int64_t, fs::path>> entries_by_step(const fs::path& directory) {
  std::vector<std::pair<std::int64_t, fs::path>> entries;
  for (const std::string& name : names_in(directory)) {
    if (const auto step = step_of(name)) entries.emplace_back(*step, directory / name);
  }
  std::sort(entries.begin(), entries.end());
  return entries;
}

void rename_or_fail(const fs::path& from, const fs::path& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) {
    fail(ExitCode::kInputOutput, "{}: cannot be renamed to {}: {}", from.string(), to.string(),
         errno_text(errno));
  }
}

// What is not removed now is removed by a later save: a reason to warn, not to stop a run.
void remove_or_warn(const fs::path& path) {
  std::error_code error;
  fs::remove_all(path, error);
  if (error) log_warning("{}: cannot be removed: {}", path.string(), error.message());
}

// Removes a path when the scope is left, unless released: for what must not outlive a failure.
class RemoveOnFailure {
 public:
  explicit RemoveOnFailure(fs::path path) : path_(std::move(path)) {}
  ~RemoveOnFailure() {
    std::error_code ignored;
    if (!path_.empty()) fs::remove_all(path_, ignored);
  }
  RemoveOnFailure(const RemoveOnFailure&) = delete;
  RemoveOnFailure& operator=(const RemoveOnFailure&) = delete;
  void release() { path_.clear(); }

 private:
  fs::path path_;
};

// Why the directory of that step is no good checkpoint of it; none when it is one.
std::optional<std::string> load_of_step(const fs::path& directory, std::int64_t step,
                                        CheckpointStore::Loaded& loaded,
                                        const std::function<void()>& progress) {
  try {
    loaded = load_checkpoint(directory, progress);
  } catch (const Error& error) {
    // All else says nothing of the checkpoint.
    const ExitCode code = error.code();
    if (code != ExitCode::kBadData && code != ExitCode::kInputMissing) throw;
    return error.what();
  }
  if (loaded.global_step == step) return std::nullopt;
  return fmt::format("{}: its manifest is of step {}", directory.string(), loaded.global_step);
}

bool is_taken(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(fs::symlink_status(path, ignored));
}

// <directory>.<what>, or <directory>.2.<what> and so on where that is taken.
fs::path free_name(const fs::path& directory, std::string_view what) {
  fs::path name = fmt::format("{}.{}", directory.string(), what);
  for (int number = 2; is_taken(name); ++number) {
    name = fmt::format("{}.{}.{}", directory.string(), number, what);
  }
  return name;
}

}  // namespace

CheckpointStore::CheckpointStore(fs::path directory, StoreOptions options)
    : directory_(std::move(directory)), options_(std::move(options)) {
  if (options_.keep < 1) {
    fail(ExitCode::kUsage, "keep-checkpoints is {}: at least 1 is needed", options_.keep);
  }
}

void CheckpointStore::create() const {
  if (::mkdir(directory_.c_str(), 0755) != 0 && errno != EEXIST) {
    fail(creation_failure(errno), "{}: cannot be created: {}", directory_.string(),
         errno_text(errno));
  }
  // Also where it was there: a process that died may have made it and synced nothing.
  fsync_directory(directory_.has_parent_path() ? directory_.parent_path() : fs::path("."));
}

fs::path CheckpointStore::save(std::int64_t global_step, const std::vector<CheckpointFile>& files,
                               std::optional<std::int64_t> best,
                               const std::function<void()>& progress) {
  LOCKSTEP_CHECK(global_step >= 0, "a checkpoint of step {}", global_step);
  try {
    return write(
        global_step, files, best, progress ? progress : [] {});
  } catch (const Error&) {
    require_owned();  // where it was lost meanwhile, that says why, and not a file that is missing
    throw;
  }
}

fs::path CheckpointStore::write(std::int64_t global_step, const std::vector<CheckpointFile>& files,
                                std::optional<std::int64_t> best,
                                const std::function<void()>& report) {
  require_owned();
  create();
  report();
  // The caller holds the run's lock, so that every temporary is a dead run's.
  for (const std::string& name : names_in(directory_)) {
    if (name.starts_with(kTemporaryPrefix)) remove_or_warn(directory_ / name);
  }
  report();

  fs::path final_path = directory_ / step_name(global_step);
  Loaded existing;
  const bool taken = is_taken(final_path);
  const auto damage =
      taken ? load_of_step(final_path, global_step, existing, report) : std::nullopt;
  report();
  if (!taken || damage) {
    const fs::path temporary =
        directory_ / fmt::format(".tmp-{}-{}", step_name(global_step), ::getpid());
    RemoveOnFailure guard(temporary);
    internal::write_checkpoint(temporary, global_step, files, report);
    require_owned();
    if (damage) {
      const fs::path aside = free_name(final_path, kDamaged);
      log_warning("{}; moved aside as {}", *damage, aside.filename().string());
      rename_or_fail(final_path, aside);
      report();
    }
    rename_or_fail(temporary, final_path);
    guard.release();
    report();
    fsync_directory(directory_);
    report();
  }

  write_hint(kLatest, global_step);
  report();
  write_best(global_step, best);
  report();
  remove_old(global_step, best, report);
  return final_path;
}

std::optional<CheckpointStore::Loaded> CheckpointStore::load_latest(
    std::vector<Skipped>& skipped, const std::function<void()>& progress) const {
  for (int tries = kMostTries;; --tries) {
    const auto latest_step = hinted_step(kLatest);  // first: a run writes it after the directory
    const auto entries = entries_by_step(directory_);
    std::vector<Skipped> passed;
    std::optional<Loaded> found;
    bool changed = false;
    if (latest_step && (entries.empty() || *latest_step > entries.back().first)) {
      passed.push_back({directory_ / step_name(*latest_step), "LATEST names it, but it is gone"});
    }
    for (auto newest = entries.rbegin(); newest != entries.rend() && !found && !changed; ++newest) {
      const auto& [step, path] = *newest;
      Loaded loaded;
      auto damage = why_no_directory(path);
      if (!damage) damage = load_of_step(path, step, loaded, progress);
      if (damage) {
        passed.push_back({path, *damage});
        // A run that goes on may have removed it, and all that were listed, in the meantime.
        changed = tries > 1 && entries_by_step(directory_) != entries;
      } else {
        found = std::move(loaded);
      }
    }
    if (changed) continue;
    std::move(passed.begin(), passed.end(), std::back_inserter(skipped));
    return found;
  }
}

std::optional<fs::path> CheckpointStore::latest() const { return read_hint(kLatest); }

std::optional<fs::path> CheckpointStore::best() const { return read_hint(kBest); }

std::optional<fs::path> CheckpointStore::find(std::int64_t global_step) const {
  fs::path directory = directory_ / step_name(global_step);
  if (!is_real_directory(directory) || !internal::looks_complete(directory, global_step)) {
    return std::nullopt;
  }
  return directory;
}

void CheckpointStore::rewind(std::int64_t global_step) {
  const auto entries = entries_by_step(directory_);
  auto later = entries.rbegin();
  for (; later != entries.rend() && later->first > global_step; ++later) {
    rename_or_fail(later->second, free_name(later->second, kSuperseded));
  }
  if (later != entries.rbegin()) fsync_directory(directory_);
  if (hinted_step(kLatest) != global_step && find(global_step)) write_hint(kLatest, global_step);
}

void CheckpointStore::mark_best(std::int64_t global_step) {
  if (!find(global_step)) {
    fail(ExitCode::kInputMissing, "{}: no complete checkpoint to mark as the best",
         (directory_ / step_name(global_step)).string());
  }
  write_hint(kBest, global_step);
}

std::vector<std::pair<std::int64_t, fs::path>> CheckpointStore::list() const {
  auto checkpoints = entries_by_step(directory_);
  std::erase_if(checkpoints, [](const auto& entry) { return !is_real_directory(entry.second); });
  return checkpoints;
}

std::optional<std::int64_t> CheckpointStore::hinted_step(std::string_view name) const {
  std::string line;
  try {
    line = read_text_file(directory_ / name, kHintLimit);
  } catch (const Error&) {
    return std::nullopt;
  }
  if (line.ends_with('\n')) line.pop_back();
  return step_of(line);
}

std::optional<fs::path> CheckpointStore::read_hint(std::string_view name) const {
  const auto step = hinted_step(name);
  return step ? find(*step) : std::nullopt;
}

void CheckpointStore::write_hint(std::string_view name, std::int64_t global_step) const {
  replace_file(directory_ / name, step_name(global_step) + '\n');
}

void CheckpointStore::require_owned() const {
  if (options_.require_owned) options_.require_owned();
}

void CheckpointStore::write_best(std::int64_t saved, std::optional<std::int64_t> best) const {
  if (!best) return;
  // The hint may have been lost, or be another course's.
  if (*best == saved || (hinted_step(kBest) != best && find(*best))) write_hint(kBest, *best);
}

void CheckpointStore::remove_old(std::int64_t saved, std::optional<std::int64_t> best,
                                 const std::function<void()>& progress) const {
  if (!best) best = hinted_step(kBest);
  const auto checkpoints = list();
  std::vector<std::pair<std::int64_t, fs::path>> retired;
  int newer = 0;
  for (auto old = checkpoints.rbegin(); old != checkpoints.rend(); ++old) {
    const auto& [step, directory] = *old;
    progress();
    // A damaged checkpoint is nothing to fall back on: it takes no good one's place, and stays for
    // its owner to look at.
    if (!internal::looks_complete(directory, step)) continue;
    if (newer++ < options_.keep || step == saved || step == best) continue;
    retired.push_back(*old);
  }
  // The new checkpoint is durable by now: what goes wrong here is no reason to stop a run.
  try {
    for (auto& [step, path] : retired) {
      const fs::path temporary =
          directory_ / fmt::format(".tmp-{}-{}", step_name(step), ::getpid());
      rename_or_fail(path, temporary);
      path = temporary;
    }
    // Durable before the files go: no crash may leave a half-removed checkpoint under its own name.
    if (!retired.empty()) fsync_directory(directory_);
  } catch (const Error& error) {
    return log_warning("old checkpoints stay for now: {}", error.what());
  }
  for (const auto& [step, path] : retired) {
    remove_or_warn(path);
    progress();
  }
}

bool has_store(const fs::path& directory) {
  std::error_code error;
  const fs::file_type here = fs::symlink_status(directory, error).type();
  if (here == fs::file_type::not_found) return false;
  const fs::file_type target =
      here == fs::file_type::none ? here : fs::status(directory, error).type();
  if (target == fs::file_type::directory) return true;
  std::string reason = "is not a directory";
  if (target == fs::file_type::none) reason = "cannot be examined: " + error.message();
  if (target == fs::file_type::not_found) reason = "is a link to nothing";
  fail(ExitCode::kInputMissing, "{}: {}, so it holds no checkpoints", directory.string(), reason);
}

}  // namespace lockstep
