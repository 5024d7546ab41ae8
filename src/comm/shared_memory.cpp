#include "comm/shared_memory.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <random>
#include <utility>

#include "lockstep/base/cast.h"
#include "lockstep/base/error.h"
#include "lockstep/base/file.h"

namespace lockstep {

namespace {

// In front of the parts: by these bytes a rank knows that it has opened the root's region, and not
// what has its number among the processes that it sees.
using Mark = std::uint64_t;
constexpr std::size_t kPage = 4096;

struct Region {
  FileDescriptor file = {};
  std::byte* base = nullptr;  // null: no region
  std::string reason = {};
};

std::string text(const char* what, int error) {
  return fmt::format("{}: {}", what, errno_text(error));
}

Region map(FileDescriptor file, std::size_t bytes) {
  void* const base =
      ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), /*offset=*/0);
  if (base == MAP_FAILED) return {.reason = text("mmap", errno)};
  return {.file = std::move(file), .base = static_cast<std::byte*>(base)};
}

// Without this a page that the system does not have would be a signal in mid-training.
std::string take(const FileDescriptor& file, std::size_t first, std::size_t bytes) {
  int error = EINTR;
  while (error == EINTR) {
    error = ::posix_fallocate(file.get(), checked_cast<off_t>(first), checked_cast<off_t>(bytes));
  }
  return error == 0 ? "" : text("posix_fallocate", error);
}

Region make_region(std::size_t bytes, Mark mark) {
  FileDescriptor file(::memfd_create("lockstep", MFD_CLOEXEC));
  if (!file.valid()) return {.reason = text("memfd_create", errno)};
  if (::ftruncate(file.get(), checked_cast<off_t>(bytes)) != 0) {
    return {.reason = text("ftruncate", errno)};
  }
  if (std::string reason = take(file, 0, kPage); !reason.empty()) {
    return {.reason = std::move(reason)};
  }
  Region region = map(std::move(file), bytes);
  if (region.base != nullptr) std::memcpy(region.base, &mark, sizeof(mark));
  return region;
}

Region open_region(const std::string& path, std::size_t bytes, Mark mark) {
  // O_NONBLOCK: another process's pipe must not make this one wait.
  FileDescriptor file(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK));
  if (!file.valid()) return {.reason = text(path.c_str(), errno)};
  const std::string other = fmt::format("{}: is not the memory of the root", path);
  struct stat status {};
  if (::fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode) ||
      std::cmp_not_equal(status.st_size, bytes)) {
    return {.reason = other};
  }
  Region region = map(std::move(file), bytes);
  if (region.base == nullptr || std::memcmp(region.base, &mark, sizeof(mark)) == 0) return region;
  ::munmap(region.base, bytes);
  return {.reason = other};
}

}  // namespace

std::shared_ptr<SharedMemory> SharedMemory::create(World& world, std::size_t bytes_a_rank,
                                                   std::string& reason) {
  const std::size_t stride = (bytes_a_rank + kPage - 1) / kPage * kPage;
  const std::size_t bytes = kPage + stride * static_cast<std::size_t>(world.size());
  std::random_device random;
  const Mark mark = world.broadcast_value(Mark{random()} << 32 | random());
  Region region;
  if (world.is_root()) region = make_region(bytes, mark);
  std::string path;
  if (region.base != nullptr) {
    path = fmt::format("/proc/{}/fd/{}", ::getpid(), region.file.get());
  }
  path = world.broadcast_text(path);
  if (!world.is_root() && !path.empty()) region = open_region(path, bytes, mark);
  std::shared_ptr<SharedMemory> memory;
  if (region.base != nullptr) {
    memory.reset(new SharedMemory(region.base, bytes, stride));
    const std::size_t first = kPage + stride * static_cast<std::size_t>(world.rank());
    region.reason = take(region.file, first, stride);
  }
  // The root keeps its file open until every other rank has opened it.
  const std::vector<std::string> reasons = world.gather_text(region.reason);
  const auto failed = std::ranges::find_if_not(reasons, &std::string::empty);
  if (failed != reasons.end()) {
    const int rank = static_cast<int>(failed - reasons.begin());
    reason = fmt::format("{}: {}", world.name_ranks(std::span(&rank, 1)), *failed);
  }
  if (world.broadcast_value<char>(reason.empty() ? 0 : 1) != 0) return nullptr;
  return memory;
}

std::byte* SharedMemory::part(int rank) const {
  return base_ + kPage + static_cast<std::size_t>(rank) * stride_;
}

SharedMemory::~SharedMemory() { ::munmap(base_, bytes_); }

}  // namespace lockstep
