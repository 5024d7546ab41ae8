#include "lockstep/checkpoint/safetensors.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <set>
#include <string>

#include "expect_error.h"

namespace lockstep {
namespace {

using test::expect_error;
using testing::ElementsAre;

std::vector<std::byte> file_of(std::string_view header, std::size_t data_bytes,
                               std::optional<std::uint64_t> length = std::nullopt) {
  std::string text;
  for (int i = 0; i < 8; ++i) {
    text += static_cast<char>(length.value_or(header.size()) >> (8 * i) & 0xFF);
  }
  text += header;
  text.append(data_bytes, '\x55');
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

std::string tensor(std::string_view name, std::string_view dtype, std::string_view shape,
                   std::string_view begin, std::string_view end) {
  return fmt::format(R"("{}":{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})", name, dtype,
                     shape, begin, end);
}

std::string object(const std::vector<std::string>& members) {
  return fmt::format("{{{}}}", fmt::join(members, ","));
}

// Tensors that own their bytes.
struct Sample {
  std::vector<std::vector<std::byte>> memory;
  std::vector<TensorToWrite> tensors;
};

Sample random_sample(std::mt19937_64& random) {
  constexpr std::pair<const char*, std::size_t> kTypes[] = {{"F32", 4},  {"I64", 8}, {"U8", 1},
                                                            {"BF16", 2}, {"F64", 8}, {"BOOL", 1}};
  const auto pick = [&](std::size_t n) { return static_cast<std::size_t>(random() % n); };
  Sample sample;
  const std::size_t count = pick(9);
  for (std::size_t i = 0; i < count; ++i) {
    const auto& [dtype, element] = kTypes[pick(std::size(kTypes))];
    std::vector<std::int64_t> shape(pick(4));
    std::size_t size = element;
    for (auto& dimension : shape) {
      dimension = static_cast<std::int64_t>(pick(5));  // 0 too: a tensor without elements
      size *= static_cast<std::size_t>(dimension);
    }
    std::vector<std::byte> bytes(size);
    for (auto& byte : bytes) byte = static_cast<std::byte>(random());
    sample.memory.push_back(std::move(bytes));
    sample.tensors.push_back(
        {fmt::format("t{}.\"\\\n\xC3\xA9/..", i), std::move(shape), dtype, sample.memory.back()});
  }
  return sample;
}

TEST(Safetensors, WritesTheseBytes) {
  const std::vector<std::byte> data{std::byte{1}, std::byte{2}};
  const std::vector<TensorToWrite> tensors{{"b", {2}, "U8", data},
                                           {"a", {}, "U8", {data.data(), 1}}};
  const auto file = encode_safetensors(tensors);
  const std::string header =
      R"({"__metadata__":{"format":"pt"},"b":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
      R"("a":{"dtype":"U8","shape":[],"data_offsets":[2,3]}})";
  const std::string padded = header + std::string((8 - header.size() % 8) % 8, ' ');
  auto expected = file_of(padded, 0);
  expected.insert(expected.end(), {std::byte{1}, std::byte{2}, std::byte{1}});
  EXPECT_EQ(file, expected);
}

TEST(Safetensors, ReadsBackWhatItWrote) {
  std::mt19937_64 random(7);
  for (int round = 0; round < 300; ++round) {
    const Sample sample = random_sample(random);
    const TensorMetadata metadata{{"format", "pt"}, {"k\xC3\xA9y", "\"v\""}};
    const auto bytes = encode_safetensors(sample.tensors, metadata);
    ASSERT_EQ(bytes, encode_safetensors(sample.tensors, metadata));
    SafetensorsFile parsed = SafetensorsFile::parse(bytes, "file");
    const SafetensorsFile file = std::move(parsed);  // spans survive a move
    EXPECT_EQ(file.metadata(), metadata);
    ASSERT_EQ(file.tensors().size(), sample.tensors.size());
    for (const auto& written : sample.tensors) {
      const StoredTensor* read = file.find(written.name);
      ASSERT_NE(read, nullptr);
      EXPECT_EQ(read->dtype, written.dtype);
      EXPECT_EQ(read->shape, written.shape);
      EXPECT_TRUE(std::equal(read->bytes.begin(), read->bytes.end(), written.bytes.begin(),
                             written.bytes.end()));
      // Aligned to its elements in the file, so that readers may map it.
      std::size_t element = written.bytes.size();
      for (const auto dimension : written.shape) element /= std::max<std::size_t>(dimension, 1);
      const auto offset = read->bytes.data() - file.tensors().front().bytes.data();
      if (!read->bytes.empty()) {
        EXPECT_EQ(offset % static_cast<std::ptrdiff_t>(element), 0);
      }
    }
    EXPECT_EQ(file.find("no such tensor"), nullptr);
    EXPECT_EQ(file.find("__metadata__"), nullptr);
  }
}

TEST(Safetensors, KeepsTheGivenOrderWithinAnElementSize) {
  const std::vector<std::byte> eight(8);
  const std::span<const std::byte> four(eight.data(), 4);
  const std::vector<TensorToWrite> tensors{
      {"z", {1}, "F32", four}, {"a", {1}, "F32", four}, {"steps", {}, "I64", eight}};
  const auto file = SafetensorsFile::parse(encode_safetensors(tensors), "file");
  std::vector<std::string> names;
  for (const auto& stored : file.tensors()) names.push_back(stored.name);
  EXPECT_THAT(names, ElementsAre("steps", "z", "a"));
}

TEST(Safetensors, NothingAtAllIsAFile) {
  EXPECT_TRUE(SafetensorsFile::parse(encode_safetensors({}), "file").tensors().empty());
  EXPECT_TRUE(SafetensorsFile::parse(file_of("{}", 0), "file").tensors().empty());
}

TEST(Safetensors, EmptyTensorsMayShareAnOffset) {
  const auto file = SafetensorsFile::parse(
      file_of(object({tensor("x", "U8", "2", "0", "2"), tensor("a", "F32", "0,7", "0", "0"),
                      tensor("b", "F32", "0", "2", "2"), tensor("z", "F32", "3,0", "0", "0")}),
              2),
      "file");
  EXPECT_EQ(file.tensors().size(), 4U);
  EXPECT_EQ(file.find("x")->bytes.size(), 2U);
}

TEST(Safetensors, RefusesToWriteNonsense) {
  const std::vector<std::byte> four(4);
  const auto write = [](std::vector<TensorToWrite> tensors) {
    return [tensors] { encode_safetensors(tensors); };
  };
  expect_error(ExitCode::kInternal, "does not take 4", write({{"a", {2}, "F32", four}}));
  expect_error(ExitCode::kInternal, "does not take 4", write({{"a", {-1}, "F32", four}}));
  expect_error(ExitCode::kInternal, "unknown dtype", write({{"a", {1}, "f32", four}}));
  expect_error(ExitCode::kInternal, "is taken",
               write({{"a", {1}, "F32", four}, {"a", {1}, "F32", four}}));
  expect_error(ExitCode::kInternal, "is taken", write({{"__metadata__", {1}, "F32", four}}));
}

TEST(Safetensors, RefusesEveryMalformedHeader) {
  const std::string good = tensor("a", "F32", "1", "0", "4");
  const std::string huge = "18446744073709551615";
  struct Case {
    std::vector<std::byte> file;
    const char* reason;
  };
  const Case corpus[] = {
      {{}, "has 0 bytes"},
      {std::vector<std::byte>(7), "has 7 bytes"},
      {std::vector<std::byte>(8), "does not begin with '{'"},
      {file_of("{}", 0, 3), "says its header has 3 bytes, but only 2 follow"},
      {file_of("{}", 0, ~std::uint64_t{0}), "says its header has 18446744073709551615"},
      {file_of("{}", 0, ~std::uint64_t{0} - 7), "says its header has"},
      {file_of(fmt::format("{{{:100000000}}}", ' '), 0), "at most 100000000"},
      {file_of(" {}", 0), "does not begin with '{'"},
      {file_of("[]", 0), "does not begin with '{'"},
      {file_of("{", 0), "not valid JSON"},
      {file_of("{}}", 0), "not valid JSON"},
      {file_of("{\"\xFF\":1}", 0), "not valid JSON"},
      {file_of(std::string_view("{}\0\0", 4), 0), "NUL"},
      {file_of(object({good, good}), 4), "twice"},
      {file_of("{}", 1), "1 bytes after the last tensor"},
      {file_of(object({good}), 5), "1 bytes after the last tensor"},
      {file_of(object({good}), 3), "ends at byte 4 of the data, which has 3"},
      {file_of(object({tensor("a", "F32", "1", "4", "8")}), 8), "(gap)"},
      {file_of(object({good, tensor("b", "F32", "1", "5", "9")}), 9), "(gap)"},
      {file_of(object({good, tensor("b", "F32", "1", "3", "7")}), 7), "(overlap)"},
      {file_of(object({good, tensor("b", "F32", "1", "0", "4")}), 4), "(overlap)"},
      {file_of(object({tensor("a", "F32", "2", "0", "4")}), 4), "takes 8 bytes"},
      {file_of(object({tensor("a", "F32", "", "0", "0")}), 0), "takes 4 bytes"},
      {file_of(object({tensor("a", "F32", "1", "4", "0")}), 4), "takes 4 bytes"},
      // 2^62 * 4 = 2^64: wraps to 0.
      {file_of(object({tensor("a", "F32", "4611686018427387904", "0", "0")}), 0), "overflows"},
      {file_of(object({tensor("a", "U8", "4294967296,4294967296", "0", "0")}), 0), "overflows"},
      {file_of(object({tensor("a", "U8", huge, "0", huge)}), 0), "too large"},
      {file_of(object({tensor("a", "U8", "18446744073709551616", "0", "0")}), 0), "whole number"},
      {file_of(object({tensor("a", "U8", "9223372036854775807", "0", "9223372036854775807")}), 1),
       "ends at byte 9223372036854775807"},
      {file_of(object({tensor("a", "U8", "2", huge, "1")}), 2), "takes 2 bytes"},
      {file_of(object({tensor("a", "U8", "-1", "0", "0")}), 0), "whole number"},
      {file_of(object({tensor("a", "U8", "1.0", "0", "1")}), 1), "whole number"},
      {file_of(object({tensor("a", "U8", "1", "0", "1.0")}), 1), "whole number"},
      {file_of(object({tensor("a", "U8", "1", "\"0\"", "1")}), 1), "whole number"},
      {file_of(object({tensor("a", "U8", "1", "-0", "1")}), 1), "whole number"},
      {file_of(object({tensor("a", "f32", "1", "0", "4")}), 4), "unknown dtype \"f32\""},
      {file_of(object({tensor("a", "", "1", "0", "4")}), 4), "unknown dtype \"\""},
      {file_of(R"({"a":{"dtype":4,"shape":[1],"data_offsets":[0,4]}})", 4), "unknown dtype"},
      {file_of(R"({"a":{"dtype":"F32","shape":1,"data_offsets":[0,4]}})", 4), "not an array"},
      {file_of(R"({"a":{"dtype":"F32","shape":{"x":1},"data_offsets":[0,4]}})", 4), "not an array"},
      {file_of(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}})", 4), "two numbers"},
      {file_of(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,4]}})", 4), "two numbers"},
      {file_of(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":{"0":0,"1":4}}})", 4),
       "two numbers"},
      {file_of(R"({"a":{"dtype":"F32","shape":[1]}})", 4), "exactly"},
      {file_of(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":0}})", 4), "exactly"},
      {file_of(R"({"a":[]})", 0), "exactly"},
      {file_of(R"({"a":null})", 0), "exactly"},
      {file_of(R"({"__metadata__":[]})", 0), "not an object"},
      {file_of(R"({"__metadata__":{"a":1}})", 0), "is not text"},
      {file_of(R"({"__metadata__":{"a":{"b":"c"}}})", 0), "is not text"},
  };
  for (const Case& bad : corpus) {
    SCOPED_TRACE(bad.reason);
    expect_error(ExitCode::kBadData, bad.reason,
                 [&] { SafetensorsFile::parse(bad.file, "the file"); });
    expect_error(ExitCode::kBadData,
                 "the file: ", [&] { SafetensorsFile::parse(bad.file, "the file"); });
  }
}

TEST(Safetensors, NeverCrashesOnFlippedBitsAndRefusesEveryTruncation) {
  std::mt19937_64 random(11);
  Sample sample;
  while (sample.tensors.size() < 4) sample = random_sample(random);
  const auto good = encode_safetensors(sample.tensors);
  std::size_t accepted = 0;
  for (std::size_t i = 0; i < good.size(); ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      auto bad = good;
      bad[i] ^= static_cast<std::byte>(1 << bit);
      try {
        const auto file = SafetensorsFile::parse(std::move(bad), "file");
        ++accepted;  // data, names and metadata carry no checksum here: the manifest's task
        std::size_t size = 0;
        for (const auto& stored : file.tensors()) size += stored.bytes.size();
        EXPECT_LE(size, good.size());
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ExitCode::kBadData);
      }
    }
    const auto cut = std::vector<std::byte>(good.begin(), good.begin() + static_cast<int>(i));
    expect_error(ExitCode::kBadData, "file: ", [&] { SafetensorsFile::parse(cut, "file"); });
  }
  EXPECT_GT(accepted, 0U);
}

}  // namespace
}  // namespace lockstep
