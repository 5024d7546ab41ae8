#include "lockstep/checkpoint/json.h"

#include <gtest/gtest.h>

#include <string>

#include "expect_error.h"

namespace lockstep {
namespace {

using test::expect_error;

TEST(StrictJson, TakesWhatIsUnambiguous) {
  const auto value =
      parse_strict_json(R"({"a":[1,2.5,-3],"b":{"a":null},"c":"\u00e9 \n"})", "here");
  EXPECT_EQ(value["a"][1], 2.5);
  EXPECT_TRUE(value["b"]["a"].is_null());
  EXPECT_EQ(value["c"], "\xC3\xA9 \n");
  // The same key in different objects is no duplicate, also in objects of one array.
  EXPECT_NO_THROW(parse_strict_json(R"([{"a":{"a":1}},{"a":2}])", "here"));
}

TEST(StrictJson, RefusesWhatReadersDisagreeAbout) {
  const std::pair<std::string, std::string> corpus[] = {
      {"", "not valid JSON at byte"},
      {"{", "not valid JSON"},
      {"{} {}", "not valid JSON"},
      {"{}x", "not valid JSON"},
      {"{'a':1}", "not valid JSON"},
      {R"({"a":1,})", "not valid JSON"},
      {R"({"a":NaN})", "not valid JSON"},
      {R"({"a":01})", "not valid JSON"},
      {R"({"a":+1})", "not valid JSON"},
      {R"({"a":1} // comment)", "not valid JSON"},
      {"{\"a\":\"\xFF\"}", "not valid JSON"},
      {"{\"a\":\"\xC0\xAF\"}", "not valid JSON"},      // overlong '/'
      {"{\"a\":\"\xED\xA0\x80\"}", "not valid JSON"},  // a surrogate in UTF-8
      {R"({"a":"\ud800"})", "not valid JSON"},
      {"{\"a\":\"\n\"}", "not valid JSON"},
      {R"({"a":1e999})", "number out of range"},
      {"\xEF\xBB\xBF{}", "byte order mark"},
      {std::string("{}\0", 3), "NUL byte at byte 2"},
      {std::string("{}\0{\"a\":1}", 10), "NUL byte at byte 2"},
      {R"({"a":1,"a":1})", "key \"a\" twice"},
      {R"({"a":1,"\u0061":2})", "key \"a\" twice"},
      {R"([{"b":{"a":{},"c":[],"a":1}}])", "key \"a\" twice"},
  };
  for (const auto& [text, reason] : corpus) {
    SCOPED_TRACE(text);
    expect_error(ExitCode::kBadData, reason, [&] { parse_strict_json(text, "here"); });
    expect_error(ExitCode::kBadData, "here: ", [&] { parse_strict_json(text, "here"); });
  }
}

TEST(StrictJson, BoundsTheDepth) {
  EXPECT_NO_THROW(parse_strict_json("[[1]]", "here", 2));
  expect_error(ExitCode::kBadData, "deeper than 2", [] { parse_strict_json("[[[1]]]", "x", 2); });
  expect_error(ExitCode::kBadData, "deeper than 2",
               [] { parse_strict_json(R"({"a":{"b":{}}})", "x", 2); });
  expect_error(ExitCode::kBadData, "deeper than 16",
               [] { parse_strict_json(std::string(1'000'000, '['), "x"); });
}

TEST(Printable, IsAsciiAndShort) {
  EXPECT_EQ(printable("a\"b"), R"("a\"b")");
  EXPECT_EQ(printable("\x1B[2J\n"), R"("\u001b[2J\n")");
  EXPECT_EQ(printable("\xC3\xA9"), R"("\u00e9")");
  EXPECT_EQ(printable("\xFF"), R"("\ufffd")");
  EXPECT_EQ(printable(std::string(1000, 'x')), '"' + std::string(80, 'x') + "\"...");
}

}  // namespace
}  // namespace lockstep
