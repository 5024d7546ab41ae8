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
  /// mid-write) is cut off with a warning; any other line that is not such a record is
  /// Error{kBadData} naming the line.
  explicit MetricsFile(std::filesystem::path path);

  /// Appends one line, whole or not at all, with one write(2). Numbers read back to the same bits;
  /// JSON has none for NaN and infinities, which become null. Error{kInternal} when `record` has no
  /// step.
  void append(const nlohmann::ordered_json& record);

  /// Keeps the records whose step is <= global_step and whose "kind" is not `dropped_kind` (empty:
  /// of every kind), as one step: a crash leaves all or exactly those.
  void cut_back(std::int64_t global_step, std::string_view dropped_kind = {});

  /// Makes what was appended durable: to be called before the checkpoint that lies behind it is
  /// written.
  void sync();

  const std::filesystem::path& path() const { return path_; }

 private:
  void open();

  std::filesystem::path path_;
  FileDescriptor file_;
  std::int64_t size_ = 0;  // bytes: all whole lines
};

}  // namespace lockstep
