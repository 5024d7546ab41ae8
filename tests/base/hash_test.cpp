#include "lockstep/base/hash.h"

#include <gmock/gmock.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "lockstep/base/error.h"

namespace lockstep {
namespace {

struct Vector {
  std::string message;
  std::string digest;
};

// FIPS 180-4 examples and NIST's long-message sample.
const std::vector<Vector> kVectors{
    {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
    {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
    {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
     "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    {std::string(1000000, 'a'), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"},
};

TEST(Sha256, GivesThePublishedDigests) {
  for (const auto& [message, digest] : kVectors) EXPECT_EQ(sha256_hex(message), digest);
}

TEST(Sha256, DoesNotDependOnHowTheBytesArrive) {
  const std::string message = kVectors[2].message;
  for (std::size_t first = 0; first <= message.size(); ++first) {
    for (const std::size_t second : {first, message.size()}) {
      Sha256 hash;
      hash.update(message.substr(0, first)).update(message.substr(first, second - first));
      hash.update(message.substr(second));
      EXPECT_EQ(to_hex(hash.finish()), kVectors[2].digest);
    }
  }
}

TEST(Sha256, StartsAnewAfterFinishAndSurvivesAMove) {
  Sha256 hash;
  hash.update("something else");
  hash.finish();
  hash.update("a");
  Sha256 moved = std::move(hash);
  moved.update("bc");
  EXPECT_EQ(to_hex(moved.finish()), kVectors[1].digest);
}

TEST(Sha256File, HashesTheContent) {
  const std::filesystem::path path = testing::TempDir() + "hash-" + std::to_string(getpid());
  for (const auto& [message, digest] : kVectors) {
    std::ofstream(path, std::ios::binary) << message;
    EXPECT_EQ(sha256_file(path), digest);
  }
  std::filesystem::remove(path);
}

TEST(Sha256File, NamesThePathItCannotRead) {
  try {
    sha256_file("/no/such/file");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kInputMissing);
    EXPECT_STREQ(error.what(), "/no/such/file: cannot be opened: No such file or directory");
  }
  try {
    sha256_file("/");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kInputOutput);
    EXPECT_STREQ(error.what(), "/: cannot be read: Is a directory");
  }
}

}  // namespace
}  // namespace lockstep
