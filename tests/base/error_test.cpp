// Errors, checked casts and clocks.
#include "lockstep/base/error.h"

#include <gmock/gmock.h>

#include <cerrno>
#include <limits>
#include <new>
#include <set>
#include <stdexcept>

#include "lockstep/base/cast.h"
#include "lockstep/base/clock.h"

namespace lockstep {
namespace {

using testing::HasSubstr;
using testing::MatchesRegex;

TEST(ExitCodes, EachHasItsOwnMeaning) {
  std::set<std::string_view> meanings;
  const std::vector<int> codes{0, 64, 65, 66, 69, 70, 73, 74, 75, 76, 78};
  for (const int code : codes) meanings.insert(describe(static_cast<ExitCode>(code)));
  EXPECT_EQ(meanings.size(), codes.size());
  EXPECT_FALSE(meanings.contains("unknown"));
  EXPECT_EQ(describe(static_cast<ExitCode>(1)), "unknown");
}

TEST(Fail, ThrowsTheCodeAndTheFormattedMessage) {
  try {
    fail(ExitCode::kBadData, "{}: {} of {} bytes", "a.gz", 3, 4);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kBadData);
    EXPECT_STREQ(error.what(), "a.gz: 3 of 4 bytes");
  }
}

template <typename Exception>
Error caught(const Exception& exception) {
  try {
    throw exception;
  } catch (...) {
    return caught_error();
  }
}

TEST(CaughtError, TellsMemoryFromBugs) {
  EXPECT_EQ(caught(Error(ExitCode::kSettings, "x")).code(), ExitCode::kSettings);
  EXPECT_EQ(caught(AgreedError(ExitCode::kBadData, "x")).code(), ExitCode::kBadData);
  EXPECT_EQ(caught(std::bad_alloc()).code(), ExitCode::kUnavailable);
  EXPECT_STREQ(caught(std::bad_alloc()).what(), "out of memory");
  const Error allocator = caught(std::runtime_error(
      "[enforce] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes.\n"
      "frame #0: c10::alloc_cpu"));
  EXPECT_EQ(allocator.code(), ExitCode::kUnavailable);
  EXPECT_STREQ(allocator.what(),
               "out of memory: [enforce] DefaultCPUAllocator: can't allocate memory: you tried to "
               "allocate 8 bytes.");
  EXPECT_STREQ(caught(std::runtime_error("a bug\nException raised from f\nframe #0")).what(),
               "a bug");
  EXPECT_EQ(caught(std::runtime_error("a bug")).code(), ExitCode::kInternal);
  EXPECT_STREQ(caught(std::runtime_error("a bug")).what(), "a bug");
  EXPECT_EQ(caught(7).code(), ExitCode::kInternal);
}

TEST(Check, PassesSilentlyAndEvaluatesOnce) {
  int evaluated = 0;
  LOCKSTEP_CHECK(++evaluated == 1, "never {}", "shown");
  EXPECT_EQ(evaluated, 1);
}

TEST(Check, NamesPlaceConditionAndMessage) {
  try {
    const int have = 2;
    LOCKSTEP_CHECK(have == 3, "have {}", have);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kInternal);
    EXPECT_THAT(error.what(), HasSubstr("error_test.cpp:"));
    EXPECT_THAT(error.what(), HasSubstr("have 2"));
    EXPECT_THAT(error.what(), HasSubstr("have == 3"));
  }
}

TEST(ErrnoText, IsTheSystemsReason) {
  EXPECT_EQ(errno_text(ENOENT), "No such file or directory");
  EXPECT_EQ(errno_text(ENOSPC), "No space left on device");
}

// All pairs of types, at the bounds of both: the cast keeps the value or throws.
template <typename To, typename From>
void expect_kept_or_refused(From value) {
  if (std::in_range<To>(value)) {
    EXPECT_TRUE(std::cmp_equal(checked_cast<To>(value), value));
  } else {
    EXPECT_THROW(checked_cast<To>(value), Error);
  }
}

template <typename To, typename From>
void check_bounds() {
  using ToLimits = std::numeric_limits<To>;
  using FromLimits = std::numeric_limits<From>;
  for (const From value : {FromLimits::min(), FromLimits::max(), From{0}, static_cast<From>(-1),
                           static_cast<From>(ToLimits::max()), static_cast<From>(ToLimits::min()),
                           static_cast<From>(static_cast<From>(ToLimits::max()) + From{1})}) {
    expect_kept_or_refused<To>(value);
  }
}

TEST(CheckedCast, KeepsTheValueOrThrows) {
  check_bounds<std::int32_t, std::int64_t>();
  check_bounds<std::int32_t, std::uint64_t>();
  check_bounds<std::uint32_t, std::int64_t>();
  check_bounds<std::uint64_t, std::int64_t>();
  check_bounds<std::int64_t, std::uint64_t>();
  check_bounds<std::uint8_t, int>();
  check_bounds<std::int8_t, unsigned>();
  static_assert(checked_cast<std::uint8_t>(255) == 255);
  EXPECT_THROW(checked_cast<std::uint8_t>(256), Error);
  EXPECT_THROW(checked_cast<std::size_t>(-1), Error);
  EXPECT_THROW(checked_cast<int>(std::int64_t{1} << 31), Error);
  EXPECT_EQ(checked_cast<int>((std::int64_t{1} << 31) - 1), 2147483647);
}

TEST(Deadline, WithoutSecondsNeverPasses) {
  for (const double seconds : {0.0, -1.0, 1e300, std::numeric_limits<double>::infinity()}) {
    EXPECT_FALSE(Deadline(seconds).passed()) << seconds;
    EXPECT_EQ(Deadline(seconds).seconds(), seconds);
  }
}

TEST(Deadline, PassesAndCanBeExtended) {
  Deadline deadline(1e-9);
  const Stopwatch watch;
  while (!deadline.passed()) ASSERT_LT(watch.seconds(), 10);
  Deadline later(1000);
  later.extend();
  EXPECT_FALSE(later.passed());
}

TEST(Stopwatch, NeverRunsBackwardsAndLapsStartAnew) {
  Stopwatch watch;
  const double first = watch.seconds();
  EXPECT_GE(first, 0);
  EXPECT_GE(watch.lap(), first);
  EXPECT_LT(watch.seconds(), 10);
}

TEST(Timestamps, HaveTheDocumentedForm) {
  EXPECT_THAT(utc_timestamp(), MatchesRegex("20..-..-..T..:..:..Z"));
  EXPECT_THAT(utc_file_stamp(), MatchesRegex("20......-......"));
  EXPECT_GT(unix_seconds(), 1.7e9);
}

}  // namespace
}  // namespace lockstep
