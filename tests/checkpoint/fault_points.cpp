#include "fault_points.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdarg>
#include <string_view>

namespace lockstep::test {

namespace {

struct State {
  bool active = false;
  Fault fault = Fault::kNone;
  int at = 0;
  int error_number = 0;
  std::vector<std::string> calls;
  std::vector<std::string> written;  // by each call; empty but for write
};

State& state() {
  static State instance;
  return instance;
}

std::string path_of(int fd) {
  const std::string link = "/proc/self/fd/" + std::to_string(fd);
  std::array<char, 4096> target{};
  const auto size = ::readlink(link.c_str(), target.data(), target.size());
  return {target.data(), size > 0 ? static_cast<std::size_t>(size) : 0};
}

std::string path_at(int directory, const char* path) {
  if (path[0] == '/' || directory == AT_FDCWD) return path;
  return path_of(directory) + '/' + path;
}

// The errno that this call shall fail with, or 0. needs_space: the call fails on a full disk.
int meet(std::string call, bool needs_space, std::string_view written = {}) {
  State& s = state();
  if (!s.active) return 0;
  const int index = static_cast<int>(s.calls.size());
  s.calls.push_back(std::move(call));
  s.written.emplace_back(written);
  if (index < s.at) return 0;
  if (s.fault == Fault::kDiskFull) return needs_space ? ENOSPC : 0;
  if (index > s.at) return 0;
  if (s.fault == Fault::kCrash) ::_exit(kCrashStatus);
  return s.fault == Fault::kError ? s.error_number : 0;
}

bool about_to_crash() {
  const State& s = state();
  return s.active && s.fault == Fault::kCrash && static_cast<int>(s.calls.size()) == s.at;
}

template <typename... Args>
int call(int error_number, long number, Args... args) {
  if (error_number != 0) {
    errno = error_number;
    return -1;
  }
  return static_cast<int>(::syscall(number, args...));
}

}  // namespace

FaultScope::FaultScope(Fault fault, int at, int error_number) {
  state() = {true, fault, at, error_number, {}, {}};
}
FaultScope::~FaultScope() { state().active = false; }
const std::vector<std::string>& FaultScope::calls() const { return state().calls; }
const std::vector<std::string>& FaultScope::written() const { return state().written; }
bool FaultScope::reached() const { return static_cast<int>(state().calls.size()) > state().at; }

namespace {

int open_at(int directory, const char* path, int flags, mode_t mode) {
  const int error = (flags & O_CREAT) != 0 ? meet("create " + path_at(directory, path), true) : 0;
  return call(error, SYS_openat, directory, path, flags, mode);
}

mode_t mode_of(int flags, std::va_list arguments) {
  return (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(arguments, mode_t) : 0;
}

}  // namespace

}  // namespace lockstep::test

// The C library's names. What is not O_CREAT passes through unrecorded.
extern "C" {

using lockstep::test::call;
using lockstep::test::meet;
using lockstep::test::path_at;
using lockstep::test::path_of;

int open(const char* path, int flags, ...) {
  std::va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = lockstep::test::mode_of(flags, arguments);
  va_end(arguments);
  return lockstep::test::open_at(AT_FDCWD, path, flags, mode);
}

int openat(int directory, const char* path, int flags, ...) {
  std::va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = lockstep::test::mode_of(flags, arguments);
  va_end(arguments);
  return lockstep::test::open_at(directory, path, flags, mode);
}

ssize_t write(int fd, const void* bytes, size_t size) {
  if (lockstep::test::about_to_crash()) (void)::syscall(SYS_write, fd, bytes, size / 2);
  const int error = meet("write " + path_of(fd), true, {static_cast<const char*>(bytes), size});
  if (error != 0) {
    errno = error;
    return -1;
  }
  return ::syscall(SYS_write, fd, bytes, size);
}

// Syncs nothing: these tests end processes, not machines, and a sync may take a disk tens of
// milliseconds.
int fsync(int fd) {
  errno = meet("fsync " + path_of(fd), true);
  return errno != 0 ? -1 : 0;
}

int fdatasync(int fd) {
  errno = meet("fdatasync " + path_of(fd), true);
  return errno != 0 ? -1 : 0;
}

int ftruncate(int fd, off_t size) noexcept {
  return call(meet("truncate " + path_of(fd), false), SYS_ftruncate, fd, size);
}

int rename(const char* from, const char* to) noexcept {
  return call(meet(std::string("rename ") + from + ' ' + to, false), SYS_renameat, AT_FDCWD, from,
              AT_FDCWD, to);
}

int mkdir(const char* path, mode_t mode) noexcept {
  return call(meet(std::string("mkdir ") + path, true), SYS_mkdirat, AT_FDCWD, path, mode);
}

int unlink(const char* path) noexcept {
  return call(meet(std::string("remove ") + path, false), SYS_unlinkat, AT_FDCWD, path, 0);
}

int rmdir(const char* path) noexcept {
  return call(meet(std::string("remove ") + path, false), SYS_unlinkat, AT_FDCWD, path,
              AT_REMOVEDIR);
}

int remove(const char* path) noexcept {
  struct stat status {};
  if (::lstat(path, &status) != 0) return -1;
  return S_ISDIR(status.st_mode) ? ::rmdir(path) : ::unlink(path);
}

int unlinkat(int directory, const char* path, int flags) noexcept {
  return call(meet("remove " + path_at(directory, path), false), SYS_unlinkat, directory, path,
              flags);
}

}  // extern "C"
