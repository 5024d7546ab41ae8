#include "comm/shared_memory.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <random>
#include <span>
#include <utility>
#include <vector>

#include "lockstep/base/cast.h"
#include "lockstep/base/error.h"
#include "lockstep/base/file.h"

namespace lockstep {

namespace {

// In front of the parts: by these bytes a rank knows that it has opened the root's region, and not
// what has its number among the processes that it sees.
using Mark = std::uint64_t;
constexpr std::size_t kPage = 4096;
// Taken at a time: a signal lets the system begin anew what it had begun.
constexpr std::size_t kPiece = std::size_t{16} << 20;

std::string text(const std::string& what, int error) {
  return fmt::format("{}: {}", what, errno_text(error));
}

// Beyond the limit the system would send SIGXFSZ, which ends the process.
std::string check_file_limit(std::size_t bytes) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_FSIZE, &limit) == 0 && bytes <= limit.rlim_cur) return "";
  return "the limit on the size of files (ulimit -f)";
}

// Without this a page that the system does not have would be a signal in mid-training.
std::string take(const FileDescriptor& file, std::size_t first, std::size_t bytes) {
  for (std::size_t done = 0; done < bytes; done += kPiece) {
    int error = EINTR;
    while (error == EINTR) {
      error = ::posix_fallocate(file.get(), checked_cast<off_t>(first + done),
                                checked_cast<off_t>(std::min(kPiece, bytes - done)));
    }
    if (error != 0) return text("posix_fallocate", error);
  }
  return "";
}

FileDescriptor make_file(std::size_t bytes, std::string& reason) {
  // Some systems demand that programs rule out running what is in there; older ones do not know of
  // it.
  constexpr unsigned kNoExecution = 8;
  FileDescriptor file(::memfd_create("lockstep", MFD_CLOEXEC | kNoExecution));
  if (!file.valid() && errno == EINVAL) {
    file = FileDescriptor(::memfd_create("lockstep", MFD_CLOEXEC));
  }
  if (!file.valid()) {
    reason = text("memfd_create", errno);
  } else if (::ftruncate(file.get(), checked_cast<off_t>(bytes)) != 0) {
    reason = text("ftruncate", errno);
  } else {
    reason = take(file, 0, kPage);
  }
  return file;
}

FileDescriptor open_file(const std::string& path, std::size_t bytes, std::string& reason) {
  // Looked at before it is opened, which alone might do something to a stranger's device.
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) {
    reason = text(path, errno);
    return {};
  }
  if (!S_ISREG(status.st_mode) || std::cmp_not_equal(status.st_size, bytes)) {
    reason = fmt::format("{}: is not the memory of the root", path);
    return {};
  }
  FileDescriptor file(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!file.valid()) reason = text(path, errno);
  return file;
}

// The first reason of any rank, on the root; true everywhere if there is one.
bool any_failed(World& world, const std::string& own, std::string& first) {
  const std::vector<std::string> reasons = world.gather_text(own);
  const auto failed = std::ranges::find_if_not(reasons, &std::string::empty);
  if (failed != reasons.end()) {
    const int rank = static_cast<int>(failed - reasons.begin());
    first = fmt::format("{}: {}", world.name_ranks(std::span(&rank, 1)), *failed);
  }
  return world.broadcast_value<char>(first.empty() ? 0 : 1) != 0;
}

}  // namespace

std::shared_ptr<SharedMemory> SharedMemory::create(World& world, std::size_t bytes_a_rank,
                                                   std::string& reason) {
  const std::size_t stride = (bytes_a_rank + kPage - 1) / kPage * kPage;
  const std::size_t bytes = kPage + stride * static_cast<std::size_t>(world.size());
  std::string own = check_file_limit(bytes);
  FileDescriptor file;
  std::shared_ptr<SharedMemory> memory;
  const auto map = [&] {
    if (!own.empty()) return;
    void* const base =
        ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), /*offset=*/0);
    if (base == MAP_FAILED) {
      own = text("mmap", errno);
    } else {
      memory.reset(new SharedMemory(static_cast<std::byte*>(base), bytes, stride));
    }
  };
  Mark mark = 0;
  std::string path;
  if (world.is_root()) {
    std::random_device random;
    mark = Mark{random()} << 32 | random();
    if (own.empty()) file = make_file(bytes, own);
    map();
    if (memory) {
      std::memcpy(memory->base_, &mark, sizeof(mark));
      path = fmt::format("/proc/{}/fd/{}", ::getpid(), file.get());
    }
  }
  mark = world.broadcast_value(mark);
  path = world.broadcast_text(path);
  if (!world.is_root() && own.empty() && !path.empty()) {
    file = open_file(path, bytes, own);
    map();
    if (memory && std::memcmp(memory->base_, &mark, sizeof(mark)) != 0) {
      own = fmt::format("{}: is not the memory of the root", path);
    }
  }
  // The root keeps its file open until every other rank has opened it; and nobody takes memory that
  // not all of them can have.
  if (any_failed(world, own, reason)) return nullptr;
  own = take(file, kPage + stride * static_cast<std::size_t>(world.rank()), stride);
  if (any_failed(world, own, reason)) return nullptr;
  return memory;
}

std::byte* SharedMemory::part(int rank) const {
  return base_ + kPage + static_cast<std::size_t>(rank) * stride_;
}

SharedMemory::~SharedMemory() { ::munmap(base_, bytes_); }

}  // namespace lockstep
