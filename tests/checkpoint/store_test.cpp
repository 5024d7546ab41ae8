#include "lockstep/checkpoint/store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "checkpoint_samples.h"
#include "expect_error.h"
#include "lockstep/base/file.h"
#include "lockstep/base/hash.h"
#include "lockstep/checkpoint/manifest.h"
#include "temporary_directory.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;
using test::bytes_of;
using test::expect_error;
using test::files_of;
using test::holds_files_of;
using test::names_in;
using test::overwrite;
using testing::ElementsAre;
using testing::HasSubstr;

void set_byte(const fs::path& path, std::size_t at, char value) {
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  file.seekp(static_cast<std::streamoff>(at)).put(value);
}

class CheckpointStoreTest : public testing::Test {
 protected:
  test::TemporaryDirectory run_;
  const fs::path directory_ = run_ / "checkpoints";
  CheckpointStore store_{directory_};
  std::vector<CheckpointStore::Skipped> skipped_;
};

TEST_F(CheckpointStoreTest, AnEmptyOrMissingStoreHasNothing) {
  for (int i = 0; i < 2; ++i) {
    EXPECT_FALSE(store_.load_latest(skipped_).has_value());
    EXPECT_TRUE(skipped_.empty());
    EXPECT_FALSE(store_.latest().has_value());
    EXPECT_FALSE(store_.best().has_value());
    EXPECT_TRUE(store_.list().empty());
    EXPECT_EQ(fs::exists(directory_), i == 1);  // looking makes nothing
    fs::create_directory(directory_);
  }
}

TEST_F(CheckpointStoreTest, LoadsWhatItSaved) {
  const fs::path saved = store_.save(628, files_of(628), 628);
  EXPECT_EQ(saved, directory_ / "step-00000628");
  EXPECT_THAT(names_in(saved), ElementsAre("MANIFEST.json", "model.safetensors", "state.json"));
  EXPECT_THAT(names_in(directory_), ElementsAre("BEST", "LATEST", "step-00000628"));
  EXPECT_EQ(read_text_file(directory_ / "LATEST"), "step-00000628\n");
  EXPECT_EQ(read_text_file(directory_ / "BEST"), "step-00000628\n");
  EXPECT_EQ(store_.latest(), saved);
  EXPECT_EQ(store_.best(), saved);
  const auto loaded = store_.load_latest(skipped_);
  ASSERT_TRUE(loaded.has_value());
  EXPECT_EQ(loaded->directory, saved);
  EXPECT_TRUE(holds_files_of(*loaded, 628));
  EXPECT_TRUE(skipped_.empty());
}

TEST_F(CheckpointStoreTest, EmptyFilesAndNoFilesAreCheckpoints) {
  store_.save(1, {{"empty", {}}}, {});
  EXPECT_EQ(store_.load_latest(skipped_)->files.at("empty").size(), 0U);
  store_.save(2, {}, {});
  EXPECT_TRUE(store_.load_latest(skipped_)->files.empty());
}

TEST_F(CheckpointStoreTest, StepsSortAsNumbers) {
  CheckpointStore store(directory_, {.keep = 10});
  for (const std::int64_t step : {100'000'000LL, 99'999'999LL, 0LL, 123'456'789'012LL}) {
    store.save(step, files_of(step), {});
  }
  std::vector<std::int64_t> steps;
  for (const auto& [step, path] : store.list()) steps.push_back(step);
  EXPECT_THAT(steps, ElementsAre(0, 99'999'999, 100'000'000, 123'456'789'012));
  EXPECT_TRUE(holds_files_of(*store.load_latest(skipped_), 123'456'789'012));
}

TEST_F(CheckpointStoreTest, OtherNamesAreNotCheckpoints) {
  store_.save(5, files_of(5), {});
  for (const char* name :
       {"step-6", "step-+0000007", "step--0000007", "step-00000008x", "step-000000009", "step-",
        "step-00000009.damaged", "Step-00000009", "step-99999999999999999999"}) {
    fs::copy(directory_ / "step-00000005", directory_ / name, fs::copy_options::recursive);
  }
  overwrite(directory_ / "step-00000010", "a file");
  fs::create_directory_symlink(directory_ / "step-00000005", directory_ / "step-00000011");
  EXPECT_EQ(store_.list().size(), 1U);
}

TEST_F(CheckpointStoreTest, KeepsTheNewestAndTheBest) {
  store_.save(1, files_of(1), 1);
  for (std::int64_t step = 2; step <= 6; ++step) store_.save(step, files_of(step), {});
  EXPECT_THAT(names_in(directory_), ElementsAre("BEST", "LATEST", "step-00000001", "step-00000004",
                                                "step-00000005", "step-00000006"));
  EXPECT_TRUE(holds_files_of(load_checkpoint(*store_.best()), 1));
  store_.save(7, files_of(7), 7);
  EXPECT_THAT(names_in(directory_),
              ElementsAre("BEST", "LATEST", "step-00000005", "step-00000006", "step-00000007"));
  EXPECT_EQ(store_.best(), directory_ / "step-00000007");
}

// BEST is a hint that may be lost; what the run says is kept all the same, and BEST made anew.
TEST_F(CheckpointStoreTest, KeepsTheBestOfTheRunWhateverBestSays) {
  CheckpointStore store(directory_, {.keep = 1});
  for (const char* hint : {"", "step-00000002\n"}) {
    fs::remove_all(directory_);
    store.save(1, files_of(1), 1);
    store.save(2, files_of(2), 1);
    overwrite(directory_ / "BEST", hint);
    if (*hint == '\0') fs::remove(directory_ / "BEST");
    store.save(3, files_of(3), 1);
    EXPECT_THAT(names_in(directory_),
                ElementsAre("BEST", "LATEST", "step-00000001", "step-00000003"));
    EXPECT_EQ(store.best(), directory_ / "step-00000001");
  }
  fs::remove_all(directory_ / "step-00000001");
  store.save(4, files_of(4), 1);  // gone for good: no hint at nothing
  EXPECT_THAT(names_in(directory_), ElementsAre("BEST", "LATEST", "step-00000004"));
}

TEST_F(CheckpointStoreTest, WritesNothingIntoWhatIsNoLongerItsOwn) {
  int checks = 0;
  int owned = 0;  // so many times
  CheckpointStore store(directory_, {.require_owned = [&] {
                          if (checks++ >= owned) fail(ExitCode::kCannotCreate, "not ours");
                        }});
  expect_error(ExitCode::kCannotCreate, "not ours", [&] { store.save(1, files_of(1), {}); });
  EXPECT_FALSE(fs::exists(directory_));
  checks = 0;
  owned = 1;  // lost while it was being written
  expect_error(ExitCode::kCannotCreate, "not ours", [&] { store.save(1, files_of(1), {}); });
  EXPECT_TRUE(names_in(directory_).empty());
  checks = 0;
  owned = 2;
  store.save(1, files_of(1), {});
  EXPECT_TRUE(holds_files_of(*store.load_latest(skipped_), 1));
}

TEST_F(CheckpointStoreTest, WhereItIsLostThatIsTheReasonOfTheFailure) {
  CheckpointStore store(directory_, {.require_owned = [&] {
                          if (!fs::exists(run_.path())) fail(ExitCode::kCannotCreate, "not ours");
                        }});
  int failures = 0;
  int reports = 0;
  for (int moment = 1; reports >= moment - 1; ++moment) {
    reports = 0;
    try {
      store.save(1, files_of(1), {}, [&] {
        if (++reports == moment) fs::remove_all(run_.path());
      });
    } catch (const Error& error) {
      ++failures;
      EXPECT_EQ(error.code(), ExitCode::kCannotCreate) << "report " << moment << ": " << error.what();
    }
    fs::remove_all(directory_);
    fs::create_directories(run_.path());
  }
  EXPECT_GT(failures, 3);
}

// A run goes on while its checkpoints are read: what it retires meanwhile is no damage.
TEST_F(CheckpointStoreTest, AReaderKeepsUpWithAWriter) {
  CheckpointStore writer(directory_, {.keep = 1});
  writer.save(1, files_of(1), {});
  std::int64_t step = 1;
  int calls = 0;
  for (int stride = 1; stride < 12; ++stride) {
    const auto loaded = store_.load_latest(skipped_, [&] {
      // Ten times, each time removing what is being read.
      if (++calls % stride == 0 && step % 11 != 0) {
        ++step;
        writer.save(step, files_of(step), {});
      }
    });
    ASSERT_TRUE(loaded.has_value()) << "stride " << stride;
    EXPECT_TRUE(holds_files_of(*loaded, loaded->global_step));
    EXPECT_TRUE(skipped_.empty()) << skipped_.at(0).reason;
    ++step;
    writer.save(step, files_of(step), {});
  }
}

TEST_F(CheckpointStoreTest, TheEndOfAnotherCourseIsSetAside) {
  CheckpointStore store(directory_, {.keep = 9});
  for (std::int64_t step = 1; step <= 4; ++step) store.save(step, files_of(step), step);
  overwrite(directory_ / "LATEST", "step-00000009\n");
  store.rewind(4);  // nothing to set aside, but the hint was wrong
  EXPECT_EQ(store.latest(), directory_ / "step-00000004");
  store.rewind(2);
  EXPECT_THAT(names_in(directory_),
              ElementsAre("BEST", "LATEST", "step-00000001", "step-00000002",
                          "step-00000003.superseded", "step-00000004.superseded"));
  EXPECT_EQ(store.latest(), directory_ / "step-00000002");
  EXPECT_TRUE(holds_files_of(*store.load_latest(skipped_), 2));
  EXPECT_TRUE(skipped_.empty());
}

TEST_F(CheckpointStoreTest, AReaderIsToldWhatIsNoStore) {
  EXPECT_FALSE(has_store(directory_));
  EXPECT_FALSE(has_store(run_ / "no/checkpoints"));
  fs::create_directory(run_ / "elsewhere");
  fs::create_directory_symlink("elsewhere", directory_);
  EXPECT_TRUE(has_store(directory_));
  EXPECT_TRUE(has_store(run_ / "elsewhere"));
  fs::remove(run_ / "elsewhere");
  expect_error(ExitCode::kInputMissing, directory_.string() + ": is a link to nothing",
               [&] { has_store(directory_); });
  fs::remove(directory_);
  overwrite(directory_, "a file");
  expect_error(ExitCode::kInputMissing, directory_.string() + ": is not a directory",
               [&] { has_store(directory_); });
  EXPECT_FALSE(has_store(directory_ / "checkpoints"));  // below a file there is nothing
  fs::remove(directory_);
  fs::create_symlink("checkpoints", directory_);
  for (const fs::path& path : {directory_, directory_ / "checkpoints"}) {
    expect_error(ExitCode::kInputMissing, "Too many levels of symbolic links",
                 [&] { has_store(path); });
  }
}

TEST_F(CheckpointStoreTest, KeepsWhatItJustSavedEvenBelowNewerOnes) {
  CheckpointStore store(directory_, {.keep = 1});
  store.save(9, files_of(9), {});
  const fs::path saved = store.save(4, files_of(4), {});
  EXPECT_TRUE(holds_files_of(load_checkpoint(saved), 4));
  EXPECT_TRUE(holds_files_of(*store.load_latest(skipped_), 9));
  EXPECT_EQ(store.latest(), saved);  // a hint at the last one written, not at the highest step
}

TEST_F(CheckpointStoreTest, DamagedOnesDoNotPushOutGoodOnes) {
  CheckpointStore store(directory_, {.keep = 2});
  store.save(1, files_of(1), {});
  store.save(2, files_of(2), {});
  fs::resize_file(directory_ / "step-00000002" / "state.json", 3);
  store.save(3, files_of(3), {});
  EXPECT_THAT(names_in(directory_),
              ElementsAre("LATEST", "step-00000001", "step-00000002", "step-00000003"));
}

TEST_F(CheckpointStoreTest, RefusesToKeepNone) {
  expect_error(ExitCode::kUsage, "at least 1", [&] { CheckpointStore(directory_, {.keep = 0}); });
}

TEST_F(CheckpointStoreTest, FallsBackToTheNewestGoodOne) {
  for (std::int64_t step = 1; step <= 3; ++step) store_.save(step, files_of(step), {});
  overwrite(directory_ / "step-00000003" / "state.json", "{\"step\":4}");
  fs::remove(directory_ / "step-00000002" / "MANIFEST.json");
  const auto loaded = store_.load_latest(skipped_);
  ASSERT_TRUE(loaded.has_value());
  EXPECT_TRUE(holds_files_of(*loaded, 1));
  ASSERT_EQ(skipped_.size(), 2U);
  EXPECT_EQ(skipped_[0].directory, directory_ / "step-00000003");
  EXPECT_THAT(skipped_[0].reason, HasSubstr("step-00000003/state.json: its SHA-256 is"));
  EXPECT_THAT(skipped_[1].reason, HasSubstr("step-00000002/MANIFEST.json: cannot be opened"));

  fs::remove(directory_ / "step-00000001" / "model.safetensors");
  EXPECT_FALSE(store_.load_latest(skipped_).has_value());
}

TEST_F(CheckpointStoreTest, ANameThatLiesAboutTheStepIsSkipped) {
  store_.save(1, files_of(1), {});
  fs::rename(directory_ / "step-00000001", directory_ / "step-00000009");
  EXPECT_FALSE(store_.load_latest(skipped_).has_value());
  ASSERT_EQ(skipped_.size(), 1U);
  EXPECT_THAT(skipped_[0].reason, HasSubstr("its manifest is of step 1"));
  // By its own path it is what it says, whatever its name.
  EXPECT_TRUE(holds_files_of(load_checkpoint(directory_ / "step-00000009"), 1));
}

TEST_F(CheckpointStoreTest, AGoodOneOfThatStepIsKept) {
  const fs::path saved = store_.save(1, files_of(1), {});
  store_.save(2, files_of(2), 2);
  const auto before = fs::last_write_time(saved / "state.json");
  EXPECT_EQ(store_.save(1, {{"state.json", bytes_of("other")}}, 1), saved);
  EXPECT_TRUE(holds_files_of(load_checkpoint(saved), 1));
  EXPECT_EQ(fs::last_write_time(saved / "state.json"), before);
  EXPECT_EQ(store_.latest(), saved);
  EXPECT_EQ(store_.best(), saved);
}

TEST_F(CheckpointStoreTest, DamagedOnesOfThatStepAreMovedAside) {
  const fs::path saved = directory_ / "step-00000001";
  for (int round = 0; round < 3; ++round) {
    store_.save(1, files_of(1), {});
    EXPECT_TRUE(holds_files_of(load_checkpoint(saved), 1));
    overwrite(saved / "state.json", "round " + std::to_string(round));
  }
  store_.save(1, files_of(1), {});
  EXPECT_THAT(names_in(directory_),
              ElementsAre("LATEST", "step-00000001", "step-00000001.2.damaged",
                          "step-00000001.3.damaged", "step-00000001.damaged"));
  EXPECT_EQ(read_text_file(directory_ / "step-00000001.damaged" / "state.json"), "round 0");
  EXPECT_EQ(read_text_file(directory_ / "step-00000001.3.damaged" / "state.json"), "round 2");

  // So is what is no directory at all, and a checkpoint of another step.
  overwrite(directory_ / "step-00000002", "a file");
  fs::create_symlink("nowhere", directory_ / "step-00000003");
  fs::copy(saved, directory_ / "step-00000004");
  for (const std::int64_t step : {2, 3, 4}) {
    EXPECT_TRUE(holds_files_of(load_checkpoint(store_.save(step, files_of(step), {})), step));
  }
}

TEST_F(CheckpointStoreTest, RemovesWhatDeadRunsLeft) {
  fs::create_directories(directory_ / ".tmp-step-00000007-123" / "x");
  overwrite(directory_ / ".tmp-step-00000007-123" / "model.safetensors", "half");
  overwrite(directory_ / ".tmp-step-9", "not even a directory");
  overwrite(directory_ / "notes.txt", "mine");
  EXPECT_FALSE(store_.load_latest(skipped_).has_value());
  store_.save(1, files_of(1), {});
  EXPECT_THAT(names_in(directory_), ElementsAre("LATEST", "notes.txt", "step-00000001"));
}

TEST_F(CheckpointStoreTest, HintsAreNotBelieved) {
  store_.save(1, files_of(1), 1);
  for (const char* hint : {"", "\n", "step-00000002\n", "../checkpoints/step-00000001", "step-1",
                           "step-00000001/..", "step-00000001\nstep-00000001\n", "."}) {
    overwrite(directory_ / "BEST", hint);
    EXPECT_FALSE(store_.best().has_value()) << hint;
  }
  overwrite(directory_ / "BEST", std::string(100'000, 'x'));
  EXPECT_FALSE(store_.best().has_value());
  overwrite(directory_ / "BEST", "step-00000001");
  EXPECT_EQ(store_.best(), directory_ / "step-00000001");
  fs::resize_file(directory_ / "step-00000001" / "state.json", 1);
  EXPECT_FALSE(store_.best().has_value());
}

TEST_F(CheckpointStoreTest, MarksOnlyWhatIsThere) {
  store_.save(1, files_of(1), {});
  store_.save(2, files_of(2), {});
  store_.mark_best(1);
  EXPECT_EQ(store_.best(), directory_ / "step-00000001");
  expect_error(ExitCode::kInputMissing, "step-00000003", [&] { store_.mark_best(3); });
  EXPECT_EQ(store_.best(), directory_ / "step-00000001");
}

TEST_F(CheckpointStoreTest, ProgressIsReportedAndMayStopIt) {
  int calls = 0;
  const auto calls_of_save = [&](std::int64_t step, std::size_t size) {
    calls = 0;
    store_.save(step, {{"file", std::vector<std::byte>(size)}}, {}, [&] { ++calls; });
    return calls;
  };
  const auto calls_of_load = [&](std::int64_t step) {
    calls = 0;
    load_checkpoint(*store_.find(step), [&] { ++calls; });
    return calls;
  };
  const int small_save = calls_of_save(3, 1);
  const int small_load = calls_of_load(3);
  // Three chunks for one: hashed and written, or read and hashed.
  EXPECT_GE(calls_of_save(4, std::size_t{40} << 20), small_save + 4);
  EXPECT_GE(calls_of_load(4), small_load + 4);
  fs::remove_all(directory_);
  store_.save(1, files_of(1), {});
  for (int at = 0; at < 8; ++at) {
    calls = 0;
    EXPECT_THROW(store_.save(2, files_of(2), {},
                             [&] {
                               if (calls++ == at) throw std::runtime_error("stop");
                             }),
                 std::runtime_error);
    EXPECT_THAT(names_in(directory_), ElementsAre("LATEST", "step-00000001"));
  }
}

TEST_F(CheckpointStoreTest, DoesNotMakeTheRunDirectoryAgain) {
  store_.save(1, files_of(1), {});
  fs::remove_all(run_.path());
  expect_error(ExitCode::kCannotCreate, directory_.string(),
               [&] { store_.save(2, files_of(2), {}); });
  EXPECT_FALSE(fs::exists(run_.path()));
}

TEST_F(CheckpointStoreTest, ItsDirectoryMustBeOne) {
  overwrite(directory_, "a file");
  expect_error(ExitCode::kInputOutput, directory_.string(),
               [&] { store_.save(1, files_of(1), {}); });
}

TEST_F(CheckpointStoreTest, WritesOnlyPlainNames) {
  for (const char* name : {"../state.json", "a/b", "", ".hidden", "MANIFEST.json", "/tmp/x"}) {
    expect_error(ExitCode::kInternal, "", [&] { store_.save(1, {{name, bytes_of("x")}}, {}); });
    EXPECT_TRUE(names_in(directory_).empty()) << name;
    EXPECT_THAT(names_in(run_.path()), ElementsAre("checkpoints"));
  }
  expect_error(ExitCode::kInternal, "is taken", [&] {
    store_.save(1, {{"a", bytes_of("x")}, {"a", bytes_of("y")}}, {});
  });
  EXPECT_TRUE(names_in(directory_).empty());
}

class LoadCheckpointTest : public CheckpointStoreTest {
 protected:
  const fs::path saved_ = store_.save(3, files_of(3), {});

  void refused(const std::string& reason) {
    expect_error(ExitCode::kBadData, reason, [&] { load_checkpoint(saved_); });
  }
  // A manifest for what lies there now, as an attacker would write it.
  void reseal(const std::string& name, std::uint64_t size, const std::string& content) {
    overwrite(saved_ / "MANIFEST.json",
              encode_manifest({3, {{name, size, sha256_hex(std::string_view(content))}}}));
  }
};

TEST_F(LoadCheckpointTest, MayBeCopiedAndRenamed) {
  const fs::path copy = run_ / "my best model";
  fs::copy(saved_, copy);
  overwrite(copy / "README", "not in the manifest");
  EXPECT_TRUE(holds_files_of(load_checkpoint(copy), 3));
  fs::create_directory_symlink(copy, run_ / "link");  // the user's own choice of a path
  EXPECT_TRUE(holds_files_of(load_checkpoint(run_ / "link"), 3));
}

TEST_F(LoadCheckpointTest, NamesWhatIsMissing) {
  expect_error(ExitCode::kInputMissing, "nowhere", [&] { load_checkpoint(run_ / "nowhere"); });
  expect_error(ExitCode::kInputMissing, "state.json",
               [&] { load_checkpoint(saved_ / "state.json"); });
  fs::remove(saved_ / "state.json");
  refused("step-00000003/state.json: cannot be opened");
  fs::remove(saved_ / "MANIFEST.json");
  refused("step-00000003/MANIFEST.json: cannot be opened");
}

TEST_F(LoadCheckpointTest, EveryFlippedBitOfEveryFileIsFound) {
  for (const std::string& name : names_in(saved_)) {
    const std::string good = read_text_file(saved_ / name);
    for (std::size_t i = 0; i < good.size(); ++i) {
      for (int bit = 0; bit < 8; ++bit) {
        set_byte(saved_ / name, i, static_cast<char>(good[i] ^ (1 << bit)));
        refused((saved_ / name).string());
      }
      set_byte(saved_ / name, i, good[i]);
    }
  }
  EXPECT_TRUE(holds_files_of(load_checkpoint(saved_), 3));
}

TEST_F(LoadCheckpointTest, EveryTruncationAndExtensionIsFound) {
  for (const std::string& name : names_in(saved_)) {
    const std::string good = read_text_file(saved_ / name);
    for (std::size_t length = 0; length < good.size(); ++length) {
      overwrite(saved_ / name, good.substr(0, length));
      refused((saved_ / name).string());
    }
    for (const char extra : {'\0', '\n', 'x'}) {
      overwrite(saved_ / name, good + extra);
      refused((saved_ / name).string());
    }
    overwrite(saved_ / name, good);
  }
}

TEST_F(LoadCheckpointTest, FilesMayNotChangePlaces) {
  fs::rename(saved_ / "state.json", saved_ / "x");
  fs::rename(saved_ / "model.safetensors", saved_ / "state.json");
  fs::rename(saved_ / "x", saved_ / "model.safetensors");
  refused("the manifest says");
}

TEST_F(LoadCheckpointTest, NoLinkIsFollowedAndNothingIsWaitedFor) {
  overwrite(run_ / "secret", "secret");
  const auto replace_with = [&](auto make) {
    fs::remove_all(saved_ / "state.json");
    make(saved_ / "state.json");
  };
  reseal("state.json", 6, "secret");
  replace_with([&](const fs::path& path) { fs::create_symlink("../../secret", path); });
  refused("is a symbolic link");
  replace_with([&](const fs::path& path) { fs::create_symlink("model.safetensors", path); });
  refused("is a symbolic link");
  replace_with([&](const fs::path& path) { ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0); });
  refused("is not a regular file");
  replace_with([&](const fs::path& path) { fs::create_directory(path); });
  refused("is not a regular file");
  replace_with([&](const fs::path& path) { overwrite(path, "secret"); });
  EXPECT_EQ(load_checkpoint(saved_).files.size(), 1U);
  fs::rename(saved_ / "MANIFEST.json", saved_ / "m");
  fs::create_symlink("m", saved_ / "MANIFEST.json");
  refused("is a symbolic link");
}

TEST_F(LoadCheckpointTest, SizesAreCheckedBeforeMemoryIsTaken) {
  reseal("state.json", std::uint64_t{1} << 62, "x");  // a resize to that would throw something else
  refused("has 10 bytes, but the manifest says 4611686018427387904");
  fs::resize_file(saved_ / "MANIFEST.json", std::uintmax_t{1} << 40);  // sparse
  refused("at most 1048576");
}

TEST_F(LoadCheckpointTest, NothingBesideTheDirectoryIsReachable) {
  overwrite(run_ / "secret", "secret");
  const std::string body = "{\"files\":[{\"name\":\"../../secret\",\"sha256\":\"" +
                           sha256_hex(std::string_view("secret")) +
                           "\",\"size\":6}],\"global_step\":3,\"schema\":1}\n";
  overwrite(saved_ / "MANIFEST.json", body + sha256_hex(body) + '\n');
  refused("plain file name");
}

}  // namespace
}  // namespace lockstep
