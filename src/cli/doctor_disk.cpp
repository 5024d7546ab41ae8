#include <fcntl.h>
#include <fmt/format.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <vector>

#include "cli/doctor_facts.h"
#include "lockstep/base/clock.h"
#include "lockstep/base/error.h"
#include "lockstep/base/file.h"

namespace lockstep {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t kTestBytes = std::size_t{1} << 20;
constexpr std::size_t kSyncedBytes = 4096;
constexpr int kSyncs = 5;

// The directory that exists and that `path` is, or would be made in.
fs::path nearest_existing(const fs::path& path) {
  fs::path directory = fs::absolute(path);
  std::error_code error;
  while (!fs::exists(fs::symlink_status(directory, error)) && directory.has_relative_path()) {
    directory = directory.parent_path();
  }
  return directory;
}

ExitCode code_of(int error_number) {
  const bool full = error_number == ENOSPC || error_number == EDQUOT || error_number == EIO;
  return full ? ExitCode::kInputOutput : ExitCode::kCannotCreate;
}

double median_of_syncs(const FileDescriptor& file, const fs::path& name) {
  std::array<double, kSyncs> seconds{};
  const std::vector<std::byte> block(kSyncedBytes);
  for (double& time : seconds) {
    const Stopwatch stopwatch;
    write_all(file.get(), block, name);
    if (::fsync(file.get()) != 0) {
      fail(ExitCode::kInputOutput, "{}: fsync failed: {}", name.string(), errno_text(errno));
    }
    time = stopwatch.seconds();
  }
  std::nth_element(seconds.begin(), seconds.begin() + kSyncs / 2, seconds.end());
  return seconds[kSyncs / 2];
}

void write_test_file(DiskProbe& probe) {
  std::string name = probe.tested + "/.lockstep-doctor-XXXXXX";
  const FileDescriptor file(::mkostemp(name.data(), O_CLOEXEC));
  if (!file.valid()) {
    fail(code_of(errno), "{}: nothing can be created there: {}", probe.tested, errno_text(errno));
  }
  // Without a name it goes away however this process ends.
  ::unlink(name.c_str());
  write_all(file.get(), std::vector<std::byte>(kTestBytes), probe.tested);
  probe.fsync_seconds = median_of_syncs(file, probe.tested);
}

}  // namespace

DiskProbe probe_directory(const fs::path& path) {
  DiskProbe probe;
  probe.path = path.string();
  try {
    probe.tested = nearest_existing(path).string();
    if (!fs::is_directory(probe.tested)) {
      fail(ExitCode::kCannotCreate, "{}: is not a directory", probe.tested);
    }
    struct statvfs status {};
    if (::statvfs(probe.tested.c_str(), &status) == 0) {
      probe.free_bytes = status.f_bavail * status.f_frsize;
    }
    write_test_file(probe);
  } catch (const Error& error) {
    probe.code = static_cast<int>(error.code());
    probe.problem = error.what();
  } catch (const std::exception& error) {
    probe.code = static_cast<int>(ExitCode::kCannotCreate);
    probe.problem = fmt::format("{}: {}", probe.path, error.what());
  }
  return probe;
}

}  // namespace lockstep
