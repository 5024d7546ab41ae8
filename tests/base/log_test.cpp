#include "lockstep/base/log.h"

#include <gtest/gtest.h>

#include <functional>

namespace lockstep {
namespace {

std::string printed(LogLevel level, int rank, int world_size) {
  testing::internal::CaptureStderr();
  init_logging(level, rank, world_size);
  log_debug("d {}", 1);
  log_info("i {}", 2);
  log_warning("w {}", 3);
  log_error("e {}", 4);
  init_logging(LogLevel::kInfo, 0, 1);
  return testing::internal::GetCapturedStderr();
}

TEST(Log, TheRootPrintsFromItsLevelOnWithoutAPrefix) {
  const std::string warnings = "warning: w 3\nerror: e 4\n";
  EXPECT_EQ(printed(LogLevel::kDebug, 0, 2), "d 1\ni 2\n" + warnings);
  EXPECT_EQ(printed(LogLevel::kInfo, 0, 2), "i 2\n" + warnings);
  EXPECT_EQ(printed(LogLevel::kWarning, 0, 2), warnings);
  EXPECT_EQ(printed(LogLevel::kError, 0, 2), "error: e 4\n");
  EXPECT_EQ(printed(LogLevel::kSilent, 0, 2), "");
}

TEST(Log, OtherRanksSpeakOnlyWhenSomethingIsWrong) {
  const std::string warnings = "rank 3: warning: w 3\nrank 3: error: e 4\n";
  EXPECT_EQ(printed(LogLevel::kDebug, 3, 4), warnings);
  EXPECT_EQ(printed(LogLevel::kInfo, 3, 4), warnings);
  EXPECT_EQ(printed(LogLevel::kError, 3, 4), "rank 3: error: e 4\n");
  EXPECT_EQ(printed(LogLevel::kSilent, 3, 4), "");
}

TEST(Log, BracesInAMessageAreText) {
  testing::internal::CaptureStderr();
  log_line(LogLevel::kError, "{} {0} %s");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "error: {} {0} %s\n");
}

}  // namespace
}  // namespace lockstep
