#include "lockstep/records/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <cmath>
#include <csignal>
#include <fstream>
#include <limits>
#include <random>
#include <sstream>
#include <string>

#include "../checkpoint/expect_error.h"
#include "../checkpoint/fault_points.h"
#include "../checkpoint/temporary_directory.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;
using test::expect_error;
using test::Fault;
using test::FaultScope;
using test::overwrite;

class MetricsFileTest : public testing::Test {
 protected:
  std::string content() const { return read_text_file(path_); }

  test::TemporaryDirectory run_;
  const fs::path path_ = run_ / "metrics.jsonl";
};

// What stands in its place in a run directory from a stranger.
TEST_F(MetricsFileTest, NothingButARegularFileIsOpened) {
  const fs::path victim = run_ / "victim";
  overwrite(victim, "precious, without a newline");
  for (const char* target : {"victim", "nothing"}) {
    fs::create_symlink(target, path_);
    expect_error(ExitCode::kCannotCreate, "metrics.jsonl: is no regular file",
                 [&] { MetricsFile file(path_); });
    fs::remove(path_);
  }
  EXPECT_EQ(read_text_file(victim), "precious, without a newline");
  EXPECT_FALSE(fs::exists(run_ / "nothing"));
  ASSERT_EQ(::mkfifo(path_.c_str(), 0600), 0);
  expect_error(ExitCode::kCannotCreate, "is no regular file", [&] { MetricsFile file(path_); });
  fs::remove(path_);
  fs::create_directory(path_);
  expect_error(ExitCode::kCannotCreate, "is no regular file", [&] { MetricsFile file(path_); });
}

TEST_F(MetricsFileTest, AppendsOneLineWithOneWrite) {
  MetricsFile file(path_);
  EXPECT_EQ(content(), "");
  const FaultScope faults;
  file.append({{"kind", "step"}, {"step", 20}, {"loss", 0.1}});
  file.append({{"step", 0}, {"text", "two\nlines"}});
  EXPECT_EQ(
      content(),
      "{\"kind\":\"step\",\"step\":20,\"loss\":0.1}\n{\"step\":0,\"text\":\"two\\nlines\"}\n");
  EXPECT_THAT(faults.calls(),
              testing::ElementsAre("write " + path_.string(), "write " + path_.string()));
}

TEST_F(MetricsFileTest, GoesOnWhereItEnded) {
  MetricsFile(path_).append({{"step", 1}});
  MetricsFile(path_).append({{"step", 2}});
  EXPECT_EQ(content(), "{\"step\":1}\n{\"step\":2}\n");
}

TEST_F(MetricsFileTest, NumbersReadBackToTheSameBits) {
  std::mt19937_64 random(3);
  std::vector<double> values{
      0.0, -0.0, 0.1, 1e22, 1e23, 5e-324, 1.7976931348623157e308, static_cast<double>(0.1F)};
  while (values.size() < 5000) {
    const double value = std::bit_cast<double>(random());
    if (std::isfinite(value)) values.push_back(value);
  }
  MetricsFile file(path_);
  for (const double value : values) file.append({{"step", 1}, {"v", value}});
  std::istringstream lines(content());
  std::string line;
  for (const double value : values) {
    ASSERT_TRUE(std::getline(lines, line));
    const double read = ordered_json::parse(line)["v"].get<double>();
    ASSERT_EQ(std::bit_cast<std::uint64_t>(read), std::bit_cast<std::uint64_t>(value)) << line;
  }
}

TEST_F(MetricsFileTest, NonFiniteNumbersAndBrokenTextStayValidJson) {
  MetricsFile(path_).append(
      {{"step", 1}, {"loss", std::numeric_limits<double>::quiet_NaN()}, {"host", "\xFF"}});
  EXPECT_EQ(content(), "{\"step\":1,\"loss\":null,\"host\":\"\xEF\xBF\xBD\"}\n");
  EXPECT_NO_THROW(MetricsFile{path_});
}

TEST_F(MetricsFileTest, ARecordNeedsAStep) {
  MetricsFile file(path_);
  const ordered_json bad[] = {{{"loss", 1}},
                              {{"step", -1}},
                              {{"step", 1.0}},
                              {{"step", "1"}},
                              {{"step", ~std::uint64_t{0}}},
                              1,
                              nullptr,
                              {1, 2}};
  for (const auto& record : bad) {
    expect_error(ExitCode::kInternal, "without a step", [&] { file.append(record); });
  }
  EXPECT_EQ(content(), "");
}

TEST_F(MetricsFileTest, ATornLastLineIsDroppedWhereverItWasCut) {
  const std::string whole = "{\"step\":1}\n{\"step\":2,\"x\":[1,2]}\n{\"step\":3}\n";
  for (std::size_t length = 0; length <= whole.size(); ++length) {
    overwrite(path_, whole.substr(0, length));
    MetricsFile file(path_);
    const std::string kept = whole.substr(0, whole.substr(0, length).rfind('\n') + 1);
    EXPECT_EQ(content(), kept) << length;
    file.append({{"step", 9}});
    EXPECT_EQ(content(), kept + "{\"step\":9}\n") << length;
  }
}

// What is no record; the line's newline is not part of it.
const std::string kNoRecords[] = {
    "{\"step\":}",
    "",
    "{\"step\":1} {\"step\":2}",
    "{\"step\":1,\"x\":\"\xFF\"}",
    std::string("{\"step\":1}\0", 11),
    std::string(4096, '\0'),
    "{\"loss\":1}",
    "[1]",
    "7",
    "null",
    "{\"step\":-1}",
    "{\"step\":1.5}",
    "{\"step\":9223372036854775808}",
    "{\"step\":null}",
    std::string(200'000, '['),  // nesting has no power over the stack
};

TEST_F(MetricsFileTest, DamageOfWhatIsKeptIsNamedByItsLine) {
  const std::string good = "{\"step\":1}\n";
  for (const std::string& bad : kNoRecords) {
    SCOPED_TRACE(bad.substr(0, 50));
    for (int before = 0; before < 2; ++before) {
      const std::string text = (before != 0 ? good : "") + bad + '\n' + "{\"step\":9}\n" + good;
      overwrite(path_, text);
      expect_error(ExitCode::kBadData,
                   path_.string() + ": line " + std::to_string(before + 1) + ": is no JSON object",
                   [&] { MetricsFile(path_).cut_back(1); });
      EXPECT_EQ(content(), text);  // as it was, for its owner to look at
    }
  }
}

// A machine that lost its power may leave anything in place of what was not synced.
TEST_F(MetricsFileTest, WhatLiesBehindTheCursorGoesWhateverItIs) {
  const std::string good = "{\"step\":1}\n";
  for (const std::string& bad : kNoRecords) {
    SCOPED_TRACE(bad.substr(0, 50));
    for (const char* after : {"", "{\"step\":2}\n", "{\"kind\":\"test\",\"step\":1}\n"}) {
      overwrite(path_, good + "{\"step\":2}\n" + bad + '\n' + after);
      MetricsFile file(path_);
      file.cut_back(1, "test");
      EXPECT_EQ(content(), good);
      file.append({{"step", 2}});
      EXPECT_EQ(content(), good + "{\"step\":2}\n");
    }
  }
}

TEST_F(MetricsFileTest, NestingWithinARecordIsKept) {
  const std::string deep =
      "{\"step\":1,\"x\":" + std::string(100'000, '[') + std::string(100'000, ']') + "}\n";
  overwrite(path_, deep + "{\"step\":2}\n");
  MetricsFile(path_).cut_back(1);
  EXPECT_EQ(content(), deep);
}

TEST_F(MetricsFileTest, CutsBackToTheCursor) {
  std::mt19937_64 random(5);
  for (int round = 0; round < 50; ++round) {
    fs::remove(path_);
    MetricsFile file(path_);
    std::vector<std::int64_t> steps(random() % 30);
    for (auto& step : steps) {
      step = static_cast<std::int64_t>(random() %
                                       20);  // not in order: an epoch's records follow its steps
      file.append({{"step", step}});
    }
    const auto cursor = static_cast<std::int64_t>(random() % 22) - 1;
    std::string expected;
    for (const auto step : steps) {
      if (step <= cursor) expected += "{\"step\":" + std::to_string(step) + "}\n";
    }
    file.cut_back(cursor);
    EXPECT_EQ(content(), expected);
    file.cut_back(cursor);
    EXPECT_EQ(content(), expected);
    file.append({{"step", 100}});  // into the new file, not the one it replaced
    EXPECT_EQ(content(), expected + "{\"step\":100}\n");
  }
}

TEST_F(MetricsFileTest, CutsOutOneKind) {
  const std::string kept =
      "{\"kind\":\"step\",\"step\":1}\n{\"step\":1}\n{\"kind\":7,\"step\":1}\n{\"kind\":\"\","
      "\"step\":1}\n";
  overwrite(path_, "{\"kind\":\"test\",\"step\":1}\n" + kept + "{\"kind\":\"step\",\"step\":2}\n");
  MetricsFile(path_).cut_back(1, "test");
  EXPECT_EQ(content(), kept);
}

TEST_F(MetricsFileTest, ACrashWhileCuttingLeavesAllOrExactlyThose) {
  const std::string all = "{\"step\":1}\n{\"step\":2}\n{\"step\":3}\n";
  const std::string kept = "{\"step\":1}\n{\"step\":2}\n";
  bool reached = true;
  int before = 0;
  for (int at = 0; reached; ++at) {
    overwrite(path_, all);
    const pid_t child = ::fork();
    if (child == 0) {
      MetricsFile file(path_);
      const FaultScope faults(Fault::kCrash, at);
      file.cut_back(2);
      ::_exit(0);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFEXITED(status));
    reached = WEXITSTATUS(status) == test::kCrashStatus;
    ASSERT_TRUE(content() == all || content() == kept) << content();
    if (content() == all) ++before;
    MetricsFile(path_).cut_back(2);
    EXPECT_EQ(content(), kept);
  }
  EXPECT_GE(before, 3);
}

TEST_F(MetricsFileTest, AFailedCutLeavesAllAndNothingElse) {
  const std::string all = "{\"step\":1}\n{\"step\":2}\n";
  overwrite(path_, all);
  MetricsFile file(path_);
  for (int at = 0; at < 3; ++at) {
    const FaultScope faults(Fault::kDiskFull, at);
    expect_error(ExitCode::kInputOutput, path_.string(), [&] { file.cut_back(1); });
    EXPECT_EQ(content(), all);
    EXPECT_FALSE(fs::exists(run_ / "metrics.jsonl.tmp"));
  }
}

TEST_F(MetricsFileTest, AFullDiskTakesNoHalfLines) {
  MetricsFile file(path_);
  file.append({{"step", 1}});
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit old_limit{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &old_limit), 0);
  const rlimit limit{20, old_limit.rlim_max};  // the second line fits in part
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
  expect_error(ExitCode::kInputOutput, path_.string() + ": cannot be written", [&] {
    file.append({{"step", 2}, {"text", "long enough"}});
  });
  EXPECT_EQ(::setrlimit(RLIMIT_FSIZE, &old_limit), 0);
  std::signal(SIGXFSZ, old_handler);
  EXPECT_EQ(content(), "{\"step\":1}\n");
  file.append({{"step", 3}});
  EXPECT_EQ(content(), "{\"step\":1}\n{\"step\":3}\n");
}

TEST_F(MetricsFileTest, NamesTheFileItCannotMake) {
  expect_error(ExitCode::kCannotCreate, (run_ / "no/metrics.jsonl").string(),
               [&] { MetricsFile file(run_ / "no/metrics.jsonl"); });
  expect_error(ExitCode::kCannotCreate, run_.path().string(),
               [&] { MetricsFile file(run_.path()); });
}

TEST_F(MetricsFileTest, KnowsWhenItsNameIsGone) {
  MetricsFile file(path_);
  const auto lost = [&] {
    expect_error(ExitCode::kCannotCreate, path_.string() + ": was removed or replaced",
                 [&] { file.require_in_place(); });
  };
  EXPECT_NO_THROW(file.require_in_place());
  fs::rename(path_, run_ / "moved");
  lost();
  fs::create_symlink("moved", path_);
  lost();
  fs::remove(path_);
  MetricsFile(path_).append({{"step", 1}});
  lost();
  fs::rename(run_ / "moved", path_);
  EXPECT_NO_THROW(file.require_in_place());
  // Its own replacement is no stranger's.
  file.append({{"step", 2}});
  file.append({{"step", 3}});
  file.cut_back(2);
  EXPECT_NO_THROW(file.require_in_place());
}

TEST_F(MetricsFileTest, SyncReachesTheDisk) {
  MetricsFile file(path_);
  {
    const FaultScope failing(Fault::kError, 1, EIO);
    expect_error(ExitCode::kInputOutput, run_.path().string(), [&] { file.sync(); });
  }
  {
    const FaultScope faults;
    file.sync();
    file.sync();
    const std::string sync = "fsync " + path_.string();
    EXPECT_THAT(faults.calls(), testing::ElementsAre(sync, "fsync " + run_.path().string(), sync));
  }
  const FaultScope failing(Fault::kError, 0, EIO);
  expect_error(ExitCode::kInputOutput, path_.string(), [&] { file.sync(); });
}

}  // namespace
}  // namespace lockstep
