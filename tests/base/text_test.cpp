#include "lockstep/base/text.h"

#include <gmock/gmock.h>

#include <cmath>
#include <limits>
#include <vector>

namespace lockstep {
namespace {

const std::vector<std::string> kWords{"epochs", "epsilon", "batch-size", "learning-rate", "rho"};

TEST(Nearest, FindsTheWordItselfAndEachSingleSlip) {
  for (const std::string& word : kWords) {
    EXPECT_EQ(nearest(word, kWords), word);
    for (std::size_t i = 0; i < word.size(); ++i) {
      std::string changed = word;
      changed[i] = '?';
      EXPECT_EQ(nearest(changed, kWords), word);
      EXPECT_EQ(nearest(word.substr(0, i) + word.substr(i + 1), kWords), word);
      EXPECT_EQ(nearest(word.substr(0, i) + '?' + word.substr(i), kWords), word);
      if (i + 1 < word.size()) {
        std::string exchanged = word;
        std::swap(exchanged[i], exchanged[i + 1]);
        EXPECT_EQ(nearest(exchanged, kWords), word);
      }
    }
  }
}

TEST(Nearest, IsEmptyWhenAThirdOfTheLettersWouldNotDo) {
  EXPECT_EQ(nearest("", kWords), "");
  EXPECT_EQ(nearest("xyzzy", kWords), "");
  EXPECT_EQ(nearest("e", kWords), "");
  EXPECT_EQ(nearest("epoXXX", kWords), "");
  EXPECT_EQ(nearest("epoXXs", kWords), "epochs");
  EXPECT_EQ(nearest("epochs", {}), "");
}

TEST(Nearest, PrefersTheSmallerDistanceThenTheFirst) {
  EXPECT_EQ(nearest("momentun", std::vector<std::string>{"monument", "momentum"}), "momentum");
  EXPECT_EQ(nearest("beta", std::vector<std::string>{"beta2", "beta1"}), "beta2");
}

TEST(FormatBytes, ChangesUnitWhereTheDigitsDo) {
  constexpr std::uint64_t kKi = 1024;
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(887), "887 B");
  EXPECT_EQ(format_bytes(1023), "1023 B");
  EXPECT_EQ(format_bytes(1024), "1.0 KiB");
  EXPECT_EQ(format_bytes(kKi * kKi - 1), "1.0 MiB");
  EXPECT_EQ(format_bytes(kKi * 1023), "1023.0 KiB");
  EXPECT_EQ(format_bytes(kKi * kKi * 7 / 2), "3.5 MiB");
  EXPECT_EQ(format_bytes(kKi * kKi * kKi), "1.0 GiB");
  EXPECT_EQ(format_bytes(kKi * kKi * kKi * kKi * 5000), "5000.0 TiB");
  EXPECT_EQ(format_bytes(std::numeric_limits<std::uint64_t>::max()), "16777216.0 TiB");
}

TEST(FindInvalidUtf8, FindsTheFirstByteThatIsNone) {
  for (const char* good :
       {"", "caf\xC3\xA9", "\xC2\x80", "\xDF\xBF", "\xE0\xA0\x80", "\xED\x9F\xBF", "\xEE\x80\x80",
        "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF"}) {
    EXPECT_EQ(find_invalid_utf8(good), std::nullopt) << good;
    const std::string again = std::string(good) + good + "\xFF";
    EXPECT_EQ(find_invalid_utf8(again), again.size() - 1);
    for (std::size_t cut = 1; cut < std::string_view(good).size(); ++cut) {
      const auto part = std::string_view(good).substr(0, cut);
      if (static_cast<unsigned char>(good[0]) >= 0x80) {
        EXPECT_EQ(find_invalid_utf8(part), 0U);
      }
    }
  }
  for (const char* bad :
       {"\xE9", "\x80", "\xC0\x80", "\xC1\xBF", "\xE0\x9F\xBF", "\xED\xA0\x80", "\xF0\x8F\xBF\xBF",
        "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xC3(", "\xE2\x82(", "\xE2(\x82"}) {
    EXPECT_EQ(find_invalid_utf8(bad), 0U) << bad;
    EXPECT_EQ(find_invalid_utf8(std::string("/x/") + bad), 3U);
  }
}

TEST(WithValidUtf8, ReplacesOnlyWhatIsNone) {
  EXPECT_EQ(with_valid_utf8("caf\xC3\xA9 caf\xE9 \xE2\x82."), "caf\xC3\xA9 caf? ??.");
  EXPECT_EQ(with_valid_utf8(""), "");
}

TEST(FormatDuration, RoundsWithoutSixtySeconds) {
  EXPECT_EQ(format_duration(0), "0.0 s");
  EXPECT_EQ(format_duration(4.16), "4.2 s");
  EXPECT_EQ(format_duration(59.94), "59.9 s");
  EXPECT_EQ(format_duration(59.97), "1 min 00 s");
  EXPECT_EQ(format_duration(200), "3 min 20 s");
  EXPECT_EQ(format_duration(3599.4), "59 min 59 s");
  EXPECT_EQ(format_duration(3599.6), "1 h 00 min");
  EXPECT_EQ(format_duration(3720), "1 h 02 min");
  EXPECT_EQ(format_duration(7199), "2 h 00 min");
  EXPECT_EQ(format_duration(360000), "100 h 00 min");
  EXPECT_EQ(format_duration(INFINITY), "unknown");
  EXPECT_EQ(format_duration(NAN), "unknown");
  EXPECT_THAT(format_duration(1e300), testing::EndsWith(" min"));
}

TEST(FormatCount, GroupsThousands) {
  EXPECT_EQ(format_count(0), "0");
  EXPECT_EQ(format_count(999), "999");
  EXPECT_EQ(format_count(1000), "1,000");
  EXPECT_EQ(format_count(1234567), "1,234,567");
  EXPECT_EQ(format_count(-999), "-999");
  EXPECT_EQ(format_count(-100000), "-100,000");
  EXPECT_EQ(format_count(std::numeric_limits<std::int64_t>::max()), "9,223,372,036,854,775,807");
  EXPECT_EQ(format_count(std::numeric_limits<std::int64_t>::min()), "-9,223,372,036,854,775,808");
}

}  // namespace
}  // namespace lockstep
