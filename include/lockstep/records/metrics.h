// metrics.jsonl and decisions.jsonl: one JSON object a line, appended.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string_view>

#include "lockstep/base/file.h"

namespace lockstep {

/// A file of records, each of which has a whole number "step" >= 0: the global step it belongs to.
/// Move-only, not thread-safe, one writer at a time. Throws Error{kCannotCreate | kInputOutput}
/// naming the path.
class MetricsFile {
 public:
  /// Opens or creates it. A torn last line (without its newline, from a process that died in
  /// mid-write) is cut off with a warning; no other line is looked at.
  explicit MetricsFile(std::filesystem::path path);

  /// Appends one line, whole or not at all where the disk lets go of what it took of it. Numbers
  /// read back to the same bits; JSON has none for NaN and infinities, which become null.
  /// Error{kInternal} when `record` has no step.
  void append(const nlohmann::ordered_json& record);

  /// Keeps the records whose step is <= global_step and whose "kind" is not `dropped_kind` (empty:
  /// of every kind), as one step: a crash leaves all or exactly those. A line that is no record is
  /// Error{kBadData} naming it, and nothing is changed, when a record that is kept follows: then it
  /// was durable, and has been damaged. Behind the last of those it is what a machine that lost its
  /// power may leave of lines that were not yet synced, and goes with a warning.
  void cut_back(std::int64_t global_step, std::string_view dropped_kind = {});

  /// Makes what was appended durable, and the file's name: to be called before the checkpoint that
  /// lies behind it is written. May run in one other thread beside append().
  void sync();

  /// Error{kCannotCreate} when the file no longer has its name, since somebody removed or replaced
  /// it: nobody would read what is written from then on. For whoever has just saved a checkpoint,
  /// and says so. Threads as for sync().
  void require_in_place() const;

  const std::filesystem::path& path() const { return path_; }

 private:
  void open();

  std::filesystem::path path_;
  FileDescriptor file_;
  std::int64_t size_ = 0;  // bytes: all whole lines
  bool named_ = false;     // its name is durable
};

}  // namespace lockstep
