// Whatever happens to the newest checkpoint, the one before it is loaded, and what was passed over
// is said.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <functional>

#include "checkpoint_samples.h"
#include "expect_error.h"
#include "lockstep/base/file.h"
#include "lockstep/base/hash.h"
#include "lockstep/checkpoint/manifest.h"
#include "lockstep/checkpoint/store.h"
#include "temporary_directory.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;
using test::files_of;
using test::holds_files_of;
using test::names_in;
using test::overwrite;
using testing::HasSubstr;

class StoreAttacks : public testing::Test {
 protected:
  StoreAttacks() {
    store_.save(1, files_of(1), 1);
    store_.save(2, files_of(2), {});
  }

  // Step 1 is loaded, and one line says why step 2 is not.
  void expect_fallback(const std::string& reason) {
    std::vector<CheckpointStore::Skipped> skipped;
    const auto loaded = store_.load_latest(skipped);
    ASSERT_TRUE(loaded.has_value());
    EXPECT_TRUE(holds_files_of(*loaded, 1));
    ASSERT_EQ(skipped.size(), 1U);
    EXPECT_EQ(skipped[0].directory, newest_);
    EXPECT_THAT(skipped[0].reason, HasSubstr(reason));
    EXPECT_FALSE(store_.latest() && fs::is_symlink(*store_.latest()));
  }

  // The next save of step 2 makes it good again, whatever lies there.
  void expect_recovery() {
    store_.save(2, files_of(2), 2);
    std::vector<CheckpointStore::Skipped> skipped;
    EXPECT_TRUE(holds_files_of(*store_.load_latest(skipped), 2));
    EXPECT_TRUE(skipped.empty());
    EXPECT_EQ(store_.best(), newest_);
    EXPECT_TRUE(holds_files_of(load_checkpoint(older_), 1));
  }

  test::TemporaryDirectory run_;
  const fs::path directory_ = run_ / "checkpoints";
  const fs::path older_ = directory_ / "step-00000001";
  const fs::path newest_ = directory_ / "step-00000002";
  CheckpointStore store_{directory_};
};

TEST_F(StoreAttacks, AFlippedByteAnywhere) {
  for (const std::string& name : names_in(newest_)) {
    const std::string good = read_text_file(newest_ / name);
    for (std::size_t i = 0; i < good.size() && !HasFailure(); ++i) {
      SCOPED_TRACE(name + " byte " + std::to_string(i));
      std::string bad = good;
      bad[i] = static_cast<char>(~bad[i]);
      overwrite(newest_ / name, bad);
      expect_fallback((newest_ / name).string());
    }
    overwrite(newest_ / name, good);
  }
}

TEST_F(StoreAttacks, EveryLength) {
  for (const std::string& name : names_in(newest_)) {
    const std::string good = read_text_file(newest_ / name);
    for (std::size_t length = 0; length < good.size() && !HasFailure(); ++length) {
      SCOPED_TRACE(name + " of " + std::to_string(length) + " bytes");
      overwrite(newest_ / name, good.substr(0, length));
      expect_fallback((newest_ / name).string());
    }
    overwrite(newest_ / name, good);
  }
}

TEST_F(StoreAttacks, AnythingInPlaceOfAFile) {
  const std::vector<std::pair<std::string, std::function<void(const fs::path&)>>> kinds{
      {"", [](const fs::path&) {}},
      {"directory", [](const fs::path& path) { fs::create_directory(path); }},
      {"fifo", [](const fs::path& path) { ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0); }},
      {"link",
       [this](const fs::path& path) { fs::create_symlink(older_ / path.filename(), path); }},
      {"loop", [](const fs::path& path) { fs::create_symlink(path.filename(), path); }},
      {"device", [](const fs::path& path) { fs::create_symlink("/dev/zero", path); }},
  };
  for (const std::string& name : names_in(newest_)) {
    for (const auto& [kind, make] : kinds) {
      SCOPED_TRACE(name + ' ' + kind);
      fs::remove_all(newest_ / name);
      make(newest_ / name);
      expect_fallback((newest_ / name).string());
      expect_recovery();
    }
  }
}

TEST_F(StoreAttacks, AnythingInPlaceOfTheCheckpoint) {
  const std::vector<std::pair<std::string, std::function<void()>>> kinds{
      {"is gone", [] {}},
      {"MANIFEST.json: cannot be opened", [this] { fs::create_directory(newest_); }},
      {"is not a directory", [this] { overwrite(newest_, "x"); }},
      {"is not a directory", [this] { fs::create_directory_symlink(older_, newest_); }},
      {"is not a directory", [this] { ASSERT_EQ(::mkfifo(newest_.c_str(), 0600), 0); }},
  };
  for (const auto& [reason, make] : kinds) {
    SCOPED_TRACE(reason);
    fs::remove_all(newest_);
    make();
    expect_fallback(reason);
    expect_recovery();
  }
}

// A good checkpoint elsewhere is not one of this store.
TEST_F(StoreAttacks, ALinkToAGoodCheckpointIsNone) {
  fs::rename(newest_, run_ / "elsewhere");
  fs::create_directory_symlink(run_ / "elsewhere", newest_);
  expect_fallback("is not a directory");
  EXPECT_FALSE(store_.find(2).has_value());
  EXPECT_FALSE(store_.latest().has_value());
  store_.rewind(1);
  EXPECT_FALSE(fs::exists(fs::symlink_status(newest_)));
  EXPECT_TRUE(holds_files_of(load_checkpoint(run_ / "elsewhere"), 2));
}

TEST_F(StoreAttacks, MoreFilesAreNotRead) {
  ASSERT_EQ(::mkfifo((newest_ / "extra").c_str(), 0600), 0);
  std::vector<CheckpointStore::Skipped> skipped;
  EXPECT_TRUE(holds_files_of(*store_.load_latest(skipped), 2));
}

TEST_F(StoreAttacks, NothingIsLeft) {
  fs::remove_all(newest_);
  fs::remove_all(older_);
  std::vector<CheckpointStore::Skipped> skipped;
  EXPECT_FALSE(store_.load_latest(skipped).has_value());
  EXPECT_EQ(skipped.size(), 1U);  // a run that lost its checkpoints is not a new one
}

// What fails for a reason that is not the checkpoint's own makes it no worse: nothing is passed
// over, nothing renamed.
TEST_F(StoreAttacks, WantOfDescriptorsIsNoDamage) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "the sanitizer of types needs descriptors of its own";
#endif
  const auto before = names_in(directory_);
  rlimit old_limit{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &old_limit), 0);
  int refused = 0;
  bool loaded = false;
  for (rlim_t descriptors = 3; !loaded; ++descriptors) {
    ASSERT_LT(descriptors, 100U);
    const rlimit limit{descriptors, old_limit.rlim_max};
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &limit), 0);
    std::vector<CheckpointStore::Skipped> skipped;
    try {
      const auto found = store_.load_latest(skipped);
      loaded = true;
      EXPECT_TRUE(found && holds_files_of(*found, 2));
    } catch (const Error& error) {
      ++refused;
      EXPECT_EQ(error.code(), ExitCode::kInputOutput) << error.what();
      EXPECT_THROW(store_.save(2, files_of(2), {}), Error);
    }
    EXPECT_TRUE(skipped.empty());
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &old_limit), 0);
    EXPECT_EQ(names_in(directory_), before);
  }
  EXPECT_GE(refused, 2);  // to list the store, and to open a file of it
}

// A manifest that was made for it vouches for a file that only seems to be there. It may be a good
// one on a machine with more memory: there is no falling back.
TEST_F(StoreAttacks, AFileLargerThanMemory) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "the sanitizer needs its address space";
#endif
  constexpr std::uint64_t kSize = std::uint64_t{1} << 40;
  const int child = ::fork();
  if (child == 0) {
    overwrite(newest_ / "MANIFEST.json",
              encode_manifest({2, {{"state.json", kSize, std::string(64, '0')}}}));
    fs::resize_file(newest_ / "state.json", kSize);  // sparse
    const rlimit limit{std::uint64_t{1} << 32, std::uint64_t{1} << 32};
    if (::setrlimit(RLIMIT_AS, &limit) != 0) ::_exit(2);
    std::vector<CheckpointStore::Skipped> skipped;
    test::expect_error(ExitCode::kInputOutput, "do not fit into memory",
                       [&] { (void)store_.load_latest(skipped); });
    ::_exit(HasFailure() ? 1 : 0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

}  // namespace
}  // namespace lockstep
