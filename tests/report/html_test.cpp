#include "report/html.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <random>
#include <string>

#include "report/page.h"

namespace lockstep::report {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

TEST(Escape, LeavesNoMarkup) {
  EXPECT_EQ(escape("a<b>&\"'c"), "a&lt;b&gt;&amp;&quot;&#39;c");
  EXPECT_EQ(escape("Größe 数 😀"), "Größe 数 😀");
}

TEST(Escape, ReplacesWhatIsNoText) {
  EXPECT_EQ(escape("a\xFF"
                   "b"),
            "a\uFFFD"
            "b");
  EXPECT_EQ(escape(std::string_view("a\0b\x1B", 4)),
            "a\uFFFD"
            "b\uFFFD");
  // Overlong, a surrogate, above U+10FFFF, cut.
  for (const char* bad :
       {"\xC0\xBC", "\xE0\x80\xBC", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xE6\x95"}) {
    const std::string text = escape(bad);
    EXPECT_THAT(text, HasSubstr("\uFFFD")) << text;
    EXPECT_THAT(text, Not(HasSubstr("<")));
  }
}

TEST(Escape, OfRandomBytesIsReversibleTextWithoutMarkup) {
  std::mt19937_64 random(1);
  for (int round = 0; round < 2000; ++round) {
    std::string bytes(random() % 40, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    const std::string text = escape(bytes);
    EXPECT_EQ(text.find_first_of("<>\"'"), std::string::npos);
    const std::string plain = unescape_xml(text);
    EXPECT_EQ(escape(plain), text);
  }
}

TEST(Numbers, CarryTheExactValue) {
  std::mt19937_64 random(2);
  std::uniform_real_distribution<double> shares;
  for (int round = 0; round < 2000; ++round) {
    const double value = shares(random);
    for (const std::string& text : {percent(value), number(value), duration(value)}) {
      const std::size_t begin = text.find('"') + 1;
      EXPECT_EQ(std::stod(text.substr(begin, text.find('"', begin) - begin)), value) << text;
    }
  }
}

TEST(Numbers, AreNeverShownAsNothingOrAllThatTheyAreNot) {
  EXPECT_THAT(percent(0.98612), HasSubstr(">98.61&nbsp;%<"));
  EXPECT_THAT(percent(1), HasSubstr(">100.00&nbsp;%<"));
  EXPECT_THAT(percent(0.99999), HasSubstr("&gt;&nbsp;99.99&nbsp;%"));
  EXPECT_THAT(percent(0), HasSubstr(">0.00&nbsp;%<"));
  EXPECT_THAT(percent(1e-9), HasSubstr("&lt;&nbsp;0.01&nbsp;%"));
  EXPECT_EQ(percent(std::numeric_limits<double>::quiet_NaN()), "not finite");
  EXPECT_EQ(number(std::numeric_limits<double>::infinity()), "not finite");
  EXPECT_THAT(count(1234567), HasSubstr(">1,234,567<"));
  EXPECT_EQ(percent_or_dash(std::nullopt), "–");
}

TEST(Document, AsksToBeLoadedAgainOnlyWhenToldTo) {
  EXPECT_THAT(document("t", "b", "f", 2.5), HasSubstr("http-equiv=\"refresh\" content=\"3\""));
  EXPECT_THAT(document("t", "b", "f", 0), Not(HasSubstr("refresh")));
  EXPECT_THAT(document("<t>", "b", "<f>"),
              AllOf(HasSubstr("<title>&lt;t&gt; "), HasSubstr("<footer>&lt;f&gt;</footer>")));
}

TEST(HostText, NamesEachHostOnce) {
  EXPECT_EQ(host_text({"a", "a", "a", "<b>", "a", "c", "c"}),
            "a (ranks 0 to 2, 4), &lt;b&gt; (rank 3), c (ranks 5 to 6)");
  EXPECT_EQ(host_text({"a", "b", "a", "b"}), "a (ranks 0, 2), b (ranks 1, 3)");
  EXPECT_EQ(host_text({}), "");
}

}  // namespace
}  // namespace lockstep::report
