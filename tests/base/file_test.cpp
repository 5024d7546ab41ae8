// Reading, durable writing and replacing, and each way in which they fail.
#include "lockstep/base/file.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <functional>

#include "lockstep/base/error.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

struct Failure {
  ExitCode code = ExitCode::kDone;
  std::string message;
};

Failure failure(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return {error.code(), error.what()};
  }
  return {};
}

std::span<const std::byte> bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

class Files : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "filesXXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
  }
  void TearDown() override { fs::remove_all(directory_); }

  void expect_failure(const std::function<void()>& action, ExitCode code, const fs::path& path,
                      const std::string& reason) {
    const Failure got = failure(action);
    EXPECT_EQ(got.code, code);
    EXPECT_EQ(got.message, path.string() + ": " + reason);
  }
  std::size_t entries() const {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(directory_), {}));
  }

  fs::path directory_;
};

TEST_F(Files, WhatIsWrittenIsRead) {
  const fs::path path = directory_ / "a";
  std::string content(300000, '\0');
  for (std::size_t i = 0; i < content.size(); ++i) content[i] = static_cast<char>(i * i);
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{1}, std::size_t{4096}, content.size()}) {
    const std::string_view part(content.data(), size);
    write_file_durably(path, bytes(part));
    EXPECT_EQ(read_text_file(path), part);
    const std::vector<std::byte> read = read_file(path);
    EXPECT_TRUE(std::ranges::equal(read, bytes(part)));
  }
  write_file_durably(path, bytes("xy"));
  EXPECT_EQ(read_text_file(path), "xy") << "an old, longer content is cut";
}

TEST_F(Files, ReadingNamesWhatIsMissing) {
  const fs::path missing = directory_ / "none";
  expect_failure([&] { read_file(missing); }, ExitCode::kInputMissing, missing,
                 "cannot be opened: No such file or directory");
  expect_failure([&] { read_text_file(directory_); }, ExitCode::kInputMissing, directory_,
                 "is not a regular file");
  expect_failure([&] { read_file("/dev/null"); }, ExitCode::kInputMissing, "/dev/null",
                 "is not a regular file");
  const fs::path below_a_file = directory_ / "a" / "b";
  write_file_durably(directory_ / "a", {});
  expect_failure([&] { read_file(below_a_file); }, ExitCode::kInputMissing, below_a_file,
                 "cannot be opened: Not a directory");
}

TEST_F(Files, APipeIsRefusedRatherThanWaitedFor) {
  const fs::path path = directory_ / "pipe";
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  expect_failure([&] { read_file(path); }, ExitCode::kInputMissing, path, "is not a regular file");
}

TEST_F(Files, TheLimitIsInclusive) {
  const fs::path path = directory_ / "a";
  write_file_durably(path, bytes("12345"));
  EXPECT_EQ(read_text_file(path, 5), "12345");
  expect_failure([&] { read_file(path, 4); }, ExitCode::kBadData, path,
                 "has 5 bytes, more than the 4 allowed here");
}

TEST_F(Files, AFileThatIsNotThereIsRefusedBeforeMemoryIsTaken) {
  const fs::path path = directory_ / "sparse";
  write_file_durably(path, {});
  ASSERT_EQ(::truncate(path.c_str(), off_t{1} << 42), 0);
  EXPECT_EQ(failure([&] { read_file(path); }).code, ExitCode::kBadData);
}

TEST_F(Files, WritingNamesWhatCannotBeCreated) {
  const fs::path nowhere = directory_ / "no" / "file";
  expect_failure([&] { write_file_durably(nowhere, bytes("x")); }, ExitCode::kCannotCreate, nowhere,
                 "cannot be created: No such file or directory");
  expect_failure([&] { write_file_durably(directory_, bytes("x")); }, ExitCode::kCannotCreate,
                 directory_, "cannot be created: Is a directory");
}

TEST_F(Files, AReadOnlyDirectoryTakesNoFile) {
  if (::geteuid() == 0) GTEST_SKIP() << "root may write anywhere";
  ::chmod(directory_.c_str(), 0500);
  const fs::path path = directory_ / "a";
  expect_failure([&] { write_file_durably(path, bytes("x")); }, ExitCode::kCannotCreate, path,
                 "cannot be created: Permission denied");
  ::chmod(directory_.c_str(), 0700);
}

TEST_F(Files, AFullDiskIsAWriteError) {
  expect_failure([] { write_file_durably("/dev/full", bytes("x")); }, ExitCode::kInputOutput,
                 "/dev/full", "cannot be written: No space left on device");
}

TEST_F(Files, ReplacingPutsTheNewContentInPlaceOfTheOld) {
  const fs::path path = directory_ / "LATEST";
  replace_file(path, "one\n");
  EXPECT_EQ(read_text_file(path), "one\n");
  replace_file(path, "two\n");
  EXPECT_EQ(read_text_file(path), "two\n");
  EXPECT_EQ(entries(), 1u) << "no temporary file is left";
}

TEST_F(Files, ReplacingInTheCurrentDirectoryNeedsNoFolderName) {
  const fs::path before = fs::current_path();
  fs::current_path(directory_);
  replace_file("LATEST", "x");
  fs::current_path(before);
  EXPECT_EQ(read_text_file(directory_ / "LATEST"), "x");
}

TEST_F(Files, AFailedReplacementLeavesTheOldContentAndNothingElse) {
  const fs::path path = directory_ / "LATEST";
  replace_file(path, "old");
  rlimit before{};
  ::getrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{.rlim_cur = 1000, .rlim_max = before.rlim_max};
  ::setrlimit(RLIMIT_FSIZE, &small);
  const Failure got = failure([&] { replace_file(path, std::string(2000, 'x')); });
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, SIG_DFL);
  EXPECT_EQ(got.code, ExitCode::kInputOutput);
  EXPECT_EQ(got.message, path.string() + ".tmp: cannot be written: File too large");
  EXPECT_EQ(read_text_file(path), "old");
  EXPECT_EQ(entries(), 1u);

  fs::create_directory(directory_ / "folder");
  EXPECT_EQ(failure([&] { replace_file(directory_ / "folder", "x"); }).code,
            ExitCode::kInputOutput);
  EXPECT_EQ(entries(), 2u);
}

TEST_F(Files, NothingButAFileIsReplaced) {
  const fs::path pipe = directory_ / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  fs::create_symlink("pipe", directory_ / "link");
  fs::create_symlink("/dev/null", directory_ / "device");
  for (const char* name : {"pipe", "link", "device"}) {
    expect_failure([&] { replace_file(directory_ / name, "x"); }, ExitCode::kCannotCreate,
                   (directory_ / name).string(), "is not a regular file, and is not replaced");
  }
  EXPECT_TRUE(fs::is_fifo(pipe));
  EXPECT_TRUE(fs::is_symlink(directory_ / "device"));
  EXPECT_EQ(entries(), 3u);
}

TEST_F(Files, AReplacementFollowsNoLink) {
  const fs::path path = directory_ / "LATEST";
  write_file_durably(directory_ / "precious", bytes("mine"));
  fs::create_symlink("precious", directory_ / "LATEST.tmp");
  EXPECT_EQ(failure([&] { replace_file(path, "x"); }).code, ExitCode::kCannotCreate);
  EXPECT_EQ(read_text_file(directory_ / "precious"), "mine");
  replace_file(path, "x");  // the link is gone by now
  EXPECT_EQ(read_text_file(path), "x");
  EXPECT_EQ(read_text_file(directory_ / "precious"), "mine");
}

TEST_F(Files, ANewFileReplacesNoneAndReportsItsProgress) {
  const auto calls_for = [&](std::size_t size) {
    const std::string content(size, 'x');
    int calls = 0;
    const fs::path path = directory_ / fmt::format("new-{}", size);
    write_new_file_durably(path, bytes(content), [&] { ++calls; });
    EXPECT_EQ(read_text_file(path), content);
    return calls;
  };
  const int least = calls_for(1);
  constexpr std::size_t kMiB = std::size_t{1} << 20;
  EXPECT_GE(calls_for(40 * kMiB), least + 2);
  EXPECT_GE(calls_for(129 * kMiB), least + 8 + 2);  // and twice for what is synced on the way
  expect_failure([&] { write_new_file_durably(directory_ / "new-1", bytes("y"), {}); },
                 ExitCode::kCannotCreate, directory_ / "new-1", "cannot be created: File exists");
  EXPECT_EQ(read_text_file(directory_ / "new-1"), "x");
}

TEST_F(Files, DirectoriesAreCreatedWithTheirParentsOrNamed) {
  lockstep::create_directories(directory_ / "a" / "b");
  lockstep::create_directories(directory_ / "a" / "b");
  EXPECT_TRUE(fs::is_directory(directory_ / "a" / "b"));
  write_file_durably(directory_ / "file", {});
  const fs::path below = directory_ / "file" / "c";
  expect_failure([&] { lockstep::create_directories(below); }, ExitCode::kCannotCreate, below,
                 "cannot be created: Not a directory");
  fsync_directory(directory_);
  const fs::path none = directory_ / "none";
  expect_failure([&] { fsync_directory(none); }, ExitCode::kInputOutput, none,
                 "cannot be opened: No such file or directory");
}

TEST_F(Files, WriteAllReportsABadDescriptor) {
  expect_failure([] { write_all(-1, bytes("x"), "name"); }, ExitCode::kInputOutput, "name",
                 "cannot be written: Bad file descriptor");
  write_all(-1, {}, "name");
}

bool is_open(int fd) { return ::fcntl(fd, F_GETFD) != -1; }

TEST(FileDescriptor, HasOneOwnerThatClosesIt) {
  const int raw = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  ASSERT_GE(raw, 0);
  {
    FileDescriptor first(raw);
    FileDescriptor second(std::move(first));
    EXPECT_FALSE(first.valid());
    FileDescriptor third;
    third = std::move(second);
    EXPECT_EQ(third.get(), raw);
    FileDescriptor& same = third;
    third = std::move(same);
    EXPECT_TRUE(is_open(raw));
    const int other = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
    third = FileDescriptor(other);
    EXPECT_FALSE(is_open(raw)) << "what is assigned over is closed";
    EXPECT_EQ(FileDescriptor(std::move(third)).release(), other);
    EXPECT_TRUE(is_open(other)) << "what is released stays open";
    ::close(other);
  }
  EXPECT_FALSE(FileDescriptor().valid());
}

}  // namespace
}  // namespace lockstep
