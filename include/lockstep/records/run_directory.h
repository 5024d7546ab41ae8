// The directory that holds all that one run writes, and the lock that keeps a second run out of it.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "lockstep/base/file.h"

namespace lockstep {

/// Owns the run directory's lock (flock on .lock in it) until it is destroyed or the process ends,
/// however it ends. Move-only. Not thread-safe.
class RunDirectory {
 public:
  enum class Mode {
    kNew,          ///< refuses a directory that holds a run
    kResume,       ///< refuses a directory that holds none
    kResumeOrNew,  ///< takes either
  };

  /// Makes `path`, and what is missing above it, if need be and durably, and locks it. A directory
  /// holds a run when it has config.ini, metrics.jsonl or checkpoints; other files in it are left
  /// alone. Throws Error{kCannotCreate} naming the path when it cannot be made or written, is in
  /// use by another process (named, if it is known), or (kNew) holds a run; Error{kInputMissing}
  /// when (kResume) it holds none. Nothing that was made is left behind then.
  static RunDirectory open(const std::filesystem::path& path, Mode mode);

  /// The process that has the run in `path` open, "process 7 on node1", as far as can be told from
  /// here: a shared file system without locks across hosts hides those of other hosts. Changes
  /// nothing.
  static std::optional<std::string> user(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path checkpoints() const { return path_ / "checkpoints"; }
  std::filesystem::path metrics() const { return path_ / "metrics.jsonl"; }
  std::filesystem::path decisions() const { return path_ / "decisions.jsonl"; }
  /// Whether it held a run when it was opened.
  bool existed() const { return existed_; }

  /// Throws Error{kCannotCreate} when the directory of this path is not, or not any more, the one
  /// that was locked: another run may be writing there.
  void require_held() const;

  /// Replaces config.ini, as one step.
  void write_config(std::string_view ini) const;
  /// Writes launch.json, as one step. That of an earlier start is kept: launch.json is the newest,
  /// launch-1.json the oldest, launch-2.json the next, and so on.
  void write_launch(std::string_view json) const;
  /// The same for what is known of this start later: replaces what write_launch has written.
  void rewrite_launch(std::string_view json) const;

 private:
  RunDirectory(std::filesystem::path path, FileDescriptor lock, bool existed);

  std::filesystem::path path_;
  FileDescriptor lock_;
  bool existed_;
};

}  // namespace lockstep
