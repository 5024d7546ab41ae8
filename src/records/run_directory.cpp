#include "lockstep/records/run_directory.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "lockstep/base/error.h"

namespace lockstep {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kLockName = ".lock";

bool holds_run(const fs::path& path) {
  for (const char* name : {"config.ini", "metrics.jsonl", "checkpoints"}) {
    std::error_code ignored;
    if (fs::exists(fs::symlink_status(path / name, ignored))) return true;
  }
  return false;
}

// What open() makes, in order; taken back in the opposite order unless kept.
class Undo {
 public:
  Undo() = default;
  ~Undo() {
    for (auto made = made_.rbegin(); made != made_.rend(); ++made) {
      std::error_code ignored;
      fs::remove(*made, ignored);  // of a directory: only if it is empty
    }
  }
  Undo(const Undo&) = delete;
  Undo& operator=(const Undo&) = delete;

  void made(fs::path path) { made_.push_back(std::move(path)); }
  void keep() { made_.clear(); }

 private:
  std::vector<fs::path> made_;
};

void make_directories(const fs::path& path, Undo& undo) {
  // A name that ends in '/' has itself for its parent.
  const fs::path parent =
      path.has_filename() ? path.parent_path() : path.parent_path().parent_path();
  const fs::path holder = parent.empty() ? fs::path(".") : parent;
  int reason = ::mkdir(path.c_str(), 0755) == 0 ? 0 : errno;
  if (reason == ENOENT && !parent.empty() && parent != path) {
    make_directories(parent, undo);
    reason = ::mkdir(path.c_str(), 0755) == 0 ? 0 : errno;
  }
  if (reason == 0) {
    undo.made(path);
    // The run's own name, without which all that is durable in it would be lost.
    return fsync_directory(holder);
  }
  std::error_code ignored;
  if (reason == EEXIST && fs::is_directory(path, ignored)) {
    try {
      fsync_directory(holder);  // whoever made it may not have
    } catch (const Error&) {
      // It may be one that this user cannot read.
    }
    return;
  }
  fail(creation_failure(reason), "{}: cannot be made a run directory: {}", path.string(),
       reason == EEXIST ? "a file of that name exists" : errno_text(reason));
}

void check_mode(const fs::path& path, RunDirectory::Mode mode, bool holds) {
  if (mode == RunDirectory::Mode::kNew && holds) {
    fail(ExitCode::kCannotCreate,
         "{}: holds a run already; resume it with --resume auto or choose another --out",
         path.string());
  }
  if (mode == RunDirectory::Mode::kResume && !holds) {
    fail(ExitCode::kInputMissing, "{}: holds no run to resume", path.string());
  }
}

// Who holds the lock, as its holder wrote it; for the message only.
std::string holder_of(int fd) {
  std::array<char, 128> text{};
  const ssize_t size = ::pread(fd, text.data(), text.size(), 0);
  std::string holder(text.data(), size > 0 ? static_cast<std::size_t>(size) : 0);
  holder.resize(std::min(holder.find('\n'), holder.size()));
  std::replace_if(
      holder.begin(), holder.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  return holder.empty() ? "another process" : holder;
}

void write_holder(int fd) {
  std::array<char, 256> host{};
  ::gethostname(host.data(), host.size() - 1);
  const std::string text = fmt::format("process {} on {}\n", ::getpid(), host.data());
  // On a full disk the lock holds all the same, without a name.
  [[maybe_unused]] const int cut = ::ftruncate(fd, 0);
  [[maybe_unused]] const ssize_t written = ::pwrite(fd, text.data(), text.size(), 0);
}

// Whether the process that write_holder has named ran on this host and runs no more.
bool is_gone(const std::string& holder) {
  std::array<char, 256> host{};
  ::gethostname(host.data(), host.size() - 1);
  int process = 0;
  std::array<char, 256> named{};
  if (std::sscanf(holder.c_str(), "process %d on %255s", &process, named.data()) != 2) return false;
  if (std::string_view(named.data()) != host.data() || process <= 0) return false;
  return ::kill(process, 0) != 0 && errno == ESRCH;
}

// A millisecond each.
constexpr int kMostLooks = 2000;

FileDescriptor take_lock(const fs::path& directory, Undo& undo) {
  const fs::path path = directory / kLockName;
  int looks = 0;  // of others, that were in the way
  while (true) {
    bool made = true;
    FileDescriptor file(
        ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644));
    if (!file.valid() && errno == EEXIST) {
      made = false;
      file = FileDescriptor(::open(path.c_str(), O_RDWR | O_NOFOLLOW | O_CLOEXEC));
      if (!file.valid() && errno == ENOENT) continue;  // removed by one that failed to open
    }
    if (!file.valid()) {
      fail(creation_failure(errno), "{}: cannot be created: {}", path.string(), errno_text(errno));
    }
    if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
      if (errno == EINTR) continue;
      if (errno == EWOULDBLOCK) {
        // One that only looks has a shared lock, and only for a moment: see user().
        if (::flock(file.get(), LOCK_SH | LOCK_NB) == 0 && ++looks < kMostLooks) {
          file = FileDescriptor();
          std::this_thread::sleep_for(std::chrono::milliseconds(1));
          continue;
        }
        fail(ExitCode::kCannotCreate, "{}: is in use by {}", directory.string(),
             holder_of(file.get()));
      }
      fail(ExitCode::kCannotCreate, "{}: cannot be locked: {}", path.string(), errno_text(errno));
    }
    // Its maker may have failed and removed it between our open and our lock.
    if (!is_file_at(file.get(), path)) continue;
    if (made) undo.made(path);
    return file;
  }
}

// The highest n of the files launch-<n>.json, or 0.
std::int64_t last_launch(const fs::path& directory) {
  std::int64_t last = 0;
  std::error_code error;
  for (fs::directory_iterator entry(directory, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    constexpr std::string_view kPrefix = "launch-";
    constexpr std::string_view kSuffix = ".json";
    if (!name.starts_with(kPrefix) || !name.ends_with(kSuffix)) continue;
    std::int64_t number = 0;
    const char* digits_end = name.data() + name.size() - kSuffix.size();
    const auto [stop, bad] = std::from_chars(name.data() + kPrefix.size(), digits_end, number);
    if (bad == std::errc() && stop == digits_end) last = std::max(last, number);
  }
  if (error) {
    fail(ExitCode::kInputOutput, "{}: cannot be listed: {}", directory.string(), error.message());
  }
  return last;
}

}  // namespace

RunDirectory::RunDirectory(fs::path path, FileDescriptor lock, bool existed)
    : path_(std::move(path)), lock_(std::move(lock)), existed_(existed) {}

RunDirectory RunDirectory::open(const fs::path& path, Mode mode) {
  // Without the lock at first, so that a directory that will be refused stays untouched.
  check_mode(path, mode, holds_run(path));
  FileDescriptor lock;
  Undo undo;  // after the lock: .lock is removed, if at all, while it is held
  make_directories(path, undo);
  lock = take_lock(path, undo);
  const bool holds = holds_run(path);
  check_mode(path, mode, holds);
  write_holder(lock.get());
  undo.keep();
  return RunDirectory(path, std::move(lock), holds);
}

void RunDirectory::require_held() const {
  if (is_file_at(lock_.get(), path_ / kLockName)) return;
  fail(ExitCode::kCannotCreate,
       "{}: was removed or replaced while this run was writing to it: its lock is gone",
       path_.string());
}

std::optional<std::string> RunDirectory::user(const fs::path& path) {
  const FileDescriptor lock(::open((path / kLockName).c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  if (!lock.valid()) return std::nullopt;
  // Not even for a moment the lock of a run that may be about to start, where its last holder is
  // known to be gone.
  const std::string holder = holder_of(lock.get());
  if (is_gone(holder) || ::flock(lock.get(), LOCK_SH | LOCK_NB) == 0) return std::nullopt;
  return errno == EWOULDBLOCK ? std::optional(holder) : std::nullopt;
}

void RunDirectory::write_config(std::string_view ini) const {
  replace_file(path_ / "config.ini", ini);
}

void RunDirectory::write_launch(std::string_view json) const {
  const fs::path newest = path_ / "launch.json";
  std::error_code ignored;
  if (fs::exists(fs::symlink_status(newest, ignored))) {
    const fs::path kept = path_ / fmt::format("launch-{}.json", last_launch(path_) + 1);
    if (::rename(newest.c_str(), kept.c_str()) != 0) {
      fail(ExitCode::kInputOutput, "{}: cannot be renamed to {}: {}", newest.string(),
           kept.string(), errno_text(errno));
    }
  }
  replace_file(newest, json);
}

void RunDirectory::rewrite_launch(std::string_view json) const {
  replace_file(path_ / "launch.json", json);
}

}  // namespace lockstep
