#include "lockstep/checkpoint/manifest.h"

#include <gtest/gtest.h>

#include <string>

#include "expect_error.h"
#include "lockstep/base/hash.h"

namespace lockstep {
namespace {

using test::expect_error;

const std::string kDigestA(64, 'a');
const std::string kDigestB(64, 'b');

Manifest sample() {
  return {628, {{"model.safetensors", 3550512, kDigestA}, {"state.json", 0, kDigestB}}};
}

// A manifest whose last line is right whatever its body.
std::string sealed(const std::string& body) { return body + sha256_hex(body) + '\n'; }

std::string with_file(const std::string& file) {
  return sealed("{\"files\":[" + file + "],\"global_step\":1,\"schema\":1}\n");
}

std::string file(const std::string& name, const std::string& size = "1") {
  return "{\"name\":\"" + name + "\",\"sha256\":\"" + kDigestA + "\",\"size\":" + size + "}";
}

TEST(Manifest, WritesTheseBytes) {
  const std::string body = "{\"files\":[{\"name\":\"model.safetensors\",\"sha256\":\"" + kDigestA +
                           "\",\"size\":3550512},{\"name\":\"state.json\",\"sha256\":\"" +
                           kDigestB + "\",\"size\":0}],\"global_step\":628,\"schema\":1}\n";
  EXPECT_EQ(encode_manifest(sample()), sealed(body));
}

TEST(Manifest, ReadsBackWhatItWroteSorted) {
  EXPECT_EQ(parse_manifest(encode_manifest(sample()), "m"), sample());
  Manifest unsorted = sample();
  std::swap(unsorted.files[0], unsorted.files[1]);
  EXPECT_EQ(encode_manifest(unsorted), encode_manifest(sample()));
  const Manifest extreme{std::numeric_limits<std::int64_t>::max(),
                         {{"a", std::numeric_limits<std::uint64_t>::max(), kDigestA}}};
  EXPECT_EQ(parse_manifest(encode_manifest(extreme), "m"), extreme);
  EXPECT_EQ(parse_manifest(encode_manifest({}), "m"), Manifest{});
}

TEST(Manifest, NamesStayInTheirDirectory) {
  for (const char* name : {"model.safetensors", "a", "A_b-1.2", "a..b", "-rf"}) {
    EXPECT_TRUE(is_plain_file_name(name)) << name;
  }
  const std::string bad[] = {"",
                             ".",
                             "..",
                             ".hidden",
                             "a/b",
                             "/etc/passwd",
                             "../a",
                             "a\\b",
                             "a b",
                             "a\n",
                             "a:b",
                             "~",
                             "caf\xC3\xA9",
                             "a*",
                             "a/",
                             "a\x7F",
                             std::string("a\0b", 3),
                             "MANIFEST.json",
                             std::string(256, 'x')};
  for (const std::string& name : bad) EXPECT_FALSE(is_plain_file_name(name)) << name;
}

TEST(Manifest, RefusesToWriteNonsense) {
  expect_error(ExitCode::kInternal, "plain file name", [] {
    encode_manifest({1, {{"../a", 1, kDigestA}}});
  });
  expect_error(ExitCode::kInternal, "is taken", [] {
    encode_manifest({1, {{"a", 1, kDigestA}, {"a", 1, kDigestA}}});
  });
}

TEST(Manifest, RefusesEveryFlippedBitAndTruncation) {
  const std::string good = encode_manifest(sample());
  for (std::size_t i = 0; i < good.size(); ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string bad = good;
      bad[i] = static_cast<char>(bad[i] ^ (1 << bit));
      const bool in_body = i < good.find('\n');
      expect_error(ExitCode::kBadData,
                   in_body ? "m: its SHA-256 is" : "m: ", [&] { parse_manifest(bad, "m"); });
    }
    expect_error(ExitCode::kBadData, "m: ", [&] { parse_manifest(good.substr(0, i), "m"); });
  }
  expect_error(ExitCode::kBadData, "m: ", [&] { parse_manifest(good + '\n', "m"); });
}

// An attacker seals what he wrote: the digest is right, the content is not.
TEST(Manifest, RefusesWhatIsSealedButWrong) {
  const std::pair<std::string, std::string> corpus[] = {
      {sealed("\n"), "not valid JSON"},
      {sealed("[]\n"), "schema"},
      {sealed("{}\n"), "schema"},
      {sealed("{\"files\":[],\"global_step\":1,\"schema\":2}\n"), "schema"},
      {sealed("{\"files\":[],\"global_step\":1,\"schema\":\"1\"}\n"), "schema"},
      {sealed("{\"files\":[],\"global_step\":1,\"schema\":1.0}\n"), "canonical"},
      {sealed("{\"files\":[],\"global_step\":1,\"schema\":1,\"x\":0}\n"), "exactly files"},
      {sealed("{\"files\":[],\"schema\":1,\"x\":0}\n"), "exactly files"},
      {sealed("{\"files\":{},\"global_step\":1,\"schema\":1}\n"), "not an array"},
      {sealed("{\"files\":[],\"global_step\":-1,\"schema\":1}\n"), "global_step"},
      {sealed("{\"files\":[],\"global_step\":1.5,\"schema\":1}\n"), "global_step"},
      {sealed("{\"files\":[],\"global_step\":9223372036854775808,\"schema\":1}\n"), "global_step"},
      {sealed("{\"files\":[], \"global_step\":1,\"schema\":1}\n"), "canonical"},
      {sealed("{\"global_step\":1,\"files\":[],\"schema\":1}\n"), "canonical"},
      {sealed("{\"files\":[],\"global_step\":1,\"schema\":1}\n\n"), "canonical"},
      {sealed("{\"files\":[],\"global_step\":1,\"schema\":1,\"schema\":1}\n"), "twice"},
      {with_file("[]"), "exactly name"},
      {with_file("{\"name\":\"a\",\"sha256\":\"" + kDigestA + "\"}"), "exactly name"},
      {with_file(file("../a")), "plain file name"},
      {with_file(file("/etc/passwd")), "plain file name"},
      {with_file(file("a\\u0000b")), "plain file name"},
      {with_file(file("MANIFEST.json")), "plain file name"},
      {with_file(file("\\u0061")), "canonical"},
      {with_file("{\"name\":7,\"sha256\":\"" + kDigestA + "\",\"size\":1}"), "plain file name"},
      {with_file("{\"name\":\"a\",\"sha256\":\"" + std::string(64, 'A') + "\",\"size\":1}"),
       "hexadecimal"},
      {with_file("{\"name\":\"a\",\"sha256\":\"ab\",\"size\":1}"), "hexadecimal"},
      {with_file("{\"name\":\"a\",\"sha256\":null,\"size\":1}"), "hexadecimal"},
      {with_file(file("a", "-1")), "size of a"},
      {with_file(file("a", "1.0")), "size of a"},
      {with_file(file("a", "18446744073709551616")), "size of a"},
      {with_file(file("a") + "," + file("a")), "twice or out of order"},
      {with_file(file("b") + "," + file("a")), "twice or out of order"},
      {sealed(std::string(kManifestLimit, ' ') + '\n'), "at most"},
  };
  for (const auto& [text, reason] : corpus) {
    SCOPED_TRACE(text.substr(0, 200));
    expect_error(ExitCode::kBadData, reason, [&] { parse_manifest(text, "m"); });
  }
}

}  // namespace
}  // namespace lockstep
