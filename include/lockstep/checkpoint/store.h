// The checkpoints of one run: <run>/checkpoints/step-00000628/, LATEST and BEST. A checkpoint is
// complete or absent: it is filled as .tmp-step-00000628-<pid>, made durable file by file with
// MANIFEST.json last, and renamed. What a crash leaves behind is a temporary directory that nothing
// reads and the next save removes. Not thread-safe (CheckpointWriter saves in a thread of its own).
// One writer at a time: the caller holds the run directory's lock. Readers need none.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace lockstep {

struct StoreOptions {
  /// Newest checkpoints that are kept, >= 1; the best one is always kept.
  int keep = 3;
  /// Called before a save writes, before it names what it wrote, and when it fails; throws when the
  /// directory is no longer the caller's.
  std::function<void()> require_owned = {};
};

struct CheckpointFile {
  std::string name;  ///< see is_plain_file_name
  std::vector<std::byte> bytes;
};

class CheckpointStore {
 public:
  /// A verified checkpoint, in memory.
  struct Loaded {
    std::filesystem::path directory;
    std::int64_t global_step = 0;
    std::map<std::string, std::vector<std::byte>> files;  ///< all files of the manifest, by name
  };
  /// A checkpoint that load_latest passed over.
  struct Skipped {
    std::filesystem::path directory;
    std::string reason;
  };

  /// Touches nothing on disk. Throws Error{kUsage} when options are out of range.
  explicit CheckpointStore(std::filesystem::path directory, StoreOptions options = {});

  /// Makes the store's directory, durably, unless it is there; not its parent. Throws
  /// Error{kCannotCreate | kInputOutput}.
  void create() const;

  /// Writes a checkpoint, then LATEST, then BEST, then removes what `keep` no longer covers.
  /// Returns its directory, which is durable then. `best`: the step of the best checkpoint so far,
  /// this one or an older one, which is never removed; none: that which BEST names. A good
  /// checkpoint of global_step is kept as it is; a damaged one is moved aside as step-*.damaged.
  /// The store's directory is made if it is missing. `progress` is called between any two steps and
  /// at least once every 16 MiB; it may throw. Throws Error{kCannotCreate} or {kInputOutput} naming
  /// the path; the older checkpoints stay as they were then, and an unfinished one is removed: only
  /// when its name could not be made durable may it stay, whole, under its final name. What cannot
  /// be removed of old ones is a warning.
  std::filesystem::path save(std::int64_t global_step, const std::vector<CheckpointFile>& files,
                             std::optional<std::int64_t> best,
                             const std::function<void()>& progress = {});

  /// The highest step that verifies, or none. Appends what it passed over, and why, to `skipped`:
  /// also what has a checkpoint's name but is no directory, and what only LATEST still names. A run
  /// may go on writing meanwhile: what it removes while it is read is no damage. `progress`: see
  /// load_checkpoint. Throws Error{kInputOutput} when it cannot be told whether a checkpoint is
  /// good: for want of memory or of descriptors, of permission, or of an answer from a server.
  std::optional<Loaded> load_latest(std::vector<Skipped>& skipped,
                                    const std::function<void()>& progress = {}) const;

  /// Where LATEST and BEST point, if a complete checkpoint (by its manifest and file sizes) is
  /// there. They are hints: the truth about the newest is load_latest.
  std::optional<std::filesystem::path> latest() const;
  std::optional<std::filesystem::path> best() const;

  /// Makes global_step the newest: later checkpoints, of a course that is given up, are renamed
  /// step-*.superseded, which nothing reads or removes, the latest one first, so that a crash
  /// leaves the beginning of that course. LATEST follows. For a resume that goes back.
  void rewind(std::int64_t global_step);

  /// The complete checkpoint of that step (by its manifest and file sizes), or none.
  std::optional<std::filesystem::path> find(std::int64_t global_step) const;

  /// Points BEST to the checkpoint of that step. Throws Error{kInputMissing} when there is no
  /// complete one.
  void mark_best(std::int64_t global_step);

  /// Steps and directories by name, ascending, not verified.
  std::vector<std::pair<std::int64_t, std::filesystem::path>> list() const;

 private:
  std::filesystem::path write(std::int64_t global_step, const std::vector<CheckpointFile>& files,
                              std::optional<std::int64_t> best,
                              const std::function<void()>& report);
  std::optional<std::int64_t> hinted_step(std::string_view name) const;
  std::optional<std::filesystem::path> read_hint(std::string_view name) const;
  void write_hint(std::string_view name, std::int64_t global_step) const;
  void require_owned() const;
  void write_best(std::int64_t saved, std::optional<std::int64_t> best) const;
  void remove_old(std::int64_t saved, std::optional<std::int64_t> best,
                  const std::function<void()>& progress) const;

  std::filesystem::path directory_;
  StoreOptions options_;
};

/// Reads the checkpoint in `directory`, whatever its name, and verifies every file's size and
/// SHA-256 before returning a byte of it. Files outside the manifest are ignored; symbolic links
/// are refused. `progress` is called at least once every 16 MiB that are read or hashed. Throws
/// Error{kInputMissing} when there is no such directory, {kBadData} when the checkpoint is
/// incomplete or damaged, {kInputOutput} when that cannot be told (see load_latest).
CheckpointStore::Loaded load_checkpoint(const std::filesystem::path& directory,
                                        const std::function<void()>& progress = {});

/// Whether there is a store at this path, for a reader: false when nothing is there. Throws
/// Error{kInputMissing} with the reason when what is there is no directory (a link to nothing, a
/// file) or cannot be reached.
bool has_store(const std::filesystem::path& directory);

}  // namespace lockstep
