#include "lockstep/records/metrics.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "lockstep/base/cast.h"
#include "lockstep/base/error.h"
#include "lockstep/base/log.h"

namespace lockstep {

namespace {

using nlohmann::json;
using nlohmann::ordered_json;

// The record's step, if it has a good one.
template <typename Json>
std::optional<std::int64_t> step_in(const Json& record) {
  if (!record.is_object()) return std::nullopt;
  const auto step = record.find("step");
  if (step == record.end() || !step->is_number_integer()) return std::nullopt;
  // Parsed integers >= 0 are unsigned; those built from a signed variable are not.
  if (step->is_number_unsigned() &&
      !std::in_range<std::int64_t>(step->template get<std::uint64_t>())) {
    return std::nullopt;
  }
  const auto value = step->template get<std::int64_t>();
  return value >= 0 ? std::optional(value) : std::nullopt;
}

// The line's record; null when it is none.
json read_record(std::string_view line) {
  // The parser takes a NUL for the end of its input.
  if (line.find('\0') != std::string_view::npos) return nullptr;
  json record = json::parse(line.begin(), line.end(), nullptr, false);
  if (!step_in(record)) return nullptr;
  return record;  // moved: a copy would recurse as deep as it is nested
}

bool has_kind(const json& record, std::string_view kind) {
  const auto found = record.find("kind");
  return found != record.end() && found->is_string() &&
         found->get_ref<const std::string&>() == kind;
}

}  // namespace

MetricsFile::MetricsFile(std::filesystem::path path) : path_(std::move(path)) {
  open();
  const std::string content = read_text_file(path_, std::uint64_t{1} << 40);
  const std::size_t whole = content.rfind('\n') + 1;  // npos + 1 is 0
  if (whole != content.size()) {
    log_warning("{}: its last line was cut short ({} bytes without a newline) and is dropped",
                path_.string(), content.size() - whole);
    if (::ftruncate(file_.get(), checked_cast<off_t>(whole)) != 0) {
      fail(ExitCode::kInputOutput, "{}: cannot be cut to {} bytes: {}", path_.string(), whole,
           errno_text(errno));
    }
  }
  size_ = checked_cast<std::int64_t>(whole);
}

void MetricsFile::open() {
  // Nothing is written, or cut, through a link out of the run directory; nor is a pipe waited for.
  std::error_code ignored;
  const auto status = std::filesystem::symlink_status(path_, ignored);
  if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status)) {
    fail(ExitCode::kCannotCreate, "{}: is no regular file (a link, a directory or a pipe)",
         path_.string());
  }
  constexpr int kFlags = O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
  file_ = FileDescriptor(::open(path_.c_str(), kFlags, 0644));
  if (!file_.valid()) {
    fail(creation_failure(errno), "{}: cannot be opened for writing: {}", path_.string(),
         errno_text(errno));
  }
}

void MetricsFile::append(const ordered_json& record) {
  LOCKSTEP_CHECK(step_in(record).has_value(), "{}: a record without a step", path_.string());
  const std::string line =
      record.dump(-1, ' ', false, ordered_json::error_handler_t::replace) + '\n';
  try {
    write_all(file_.get(), std::as_bytes(std::span(line)), path_);
  } catch (const Error&) {
    // A full disk may have taken half a line. If this fails too, the next start drops it.
    [[maybe_unused]] const int ignored = ::ftruncate(file_.get(), size_);
    throw;
  }
  size_ += checked_cast<std::int64_t>(line.size());
}

void MetricsFile::cut_back(std::int64_t global_step, std::string_view dropped_kind) {
  const std::string content = read_text_file(path_, std::uint64_t{1} << 40);
  std::string kept;
  std::size_t bad = 0;  // the first line that is no record
  std::size_t number = 1;
  for (std::size_t begin = 0, end; (end = content.find('\n', begin)) != std::string::npos;
       begin = end + 1, ++number) {
    const std::string_view line(content.data() + begin, end - begin);
    const json record = read_record(line);
    if (record.is_null()) {
      if (bad == 0) bad = number;
      continue;
    }
    const bool dropped = !dropped_kind.empty() && has_kind(record, dropped_kind);
    if (dropped || *step_in(record) > global_step) continue;
    if (bad > 0) {
      fail(ExitCode::kBadData, "{}: line {}: is no JSON object with a whole number \"step\" >= 0",
           path_.string(), bad);
    }
    kept.append(line) += '\n';
  }
  if (bad > 0) {
    log_warning("{}: line {} is no record and lies behind step {}: it is dropped with what follows",
                path_.string(), bad, global_step);
  }
  if (kept.size() == content.size()) return;
  replace_file(path_, kept);
  open();
  size_ = checked_cast<std::int64_t>(kept.size());
}

void MetricsFile::sync() {
  if (::fsync(file_.get()) != 0) {
    fail(ExitCode::kInputOutput, "{}: cannot be made durable: {}", path_.string(),
         errno_text(errno));
  }
  if (named_) return;
  fsync_directory(path_.has_parent_path() ? path_.parent_path() : std::filesystem::path("."));
  named_ = true;
}

void MetricsFile::require_in_place() const {
  if (is_file_at(file_.get(), path_)) return;
  fail(ExitCode::kCannotCreate,
       "{}: was removed or replaced while this run was writing to it; what was trained is saved, "
       "and --resume auto goes on",
       path_.string());
}

}  // namespace lockstep
