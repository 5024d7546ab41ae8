// Two run directories are equal in every bit, or the first place where they are not is named.
#include "cli/prove_compare.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cstring>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "lockstep/base/error.h"
#include "lockstep/base/file.h"
#include "lockstep/checkpoint/safetensors.h"
#include "lockstep/checkpoint/store.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::SizeIs;

struct Tensor {
  std::string name;
  std::vector<std::uint32_t> bits;
  std::vector<std::int64_t> shape;
  std::string dtype = "F32";
};

std::vector<std::byte> bytes_of(const std::string& text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

std::vector<std::byte> file_of(const std::vector<Tensor>& tensors) {
  std::vector<TensorToWrite> written;
  for (const Tensor& tensor : tensors) {
    written.push_back({.name = tensor.name,
                       .shape = tensor.shape,
                       .dtype = tensor.dtype,
                       .bytes = std::as_bytes(std::span(tensor.bits))});
  }
  return encode_safetensors(written);
}

std::uint32_t bits(float value) { return std::bit_cast<std::uint32_t>(value); }

class ProveCompare : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "lockstep-compare-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    place_ = pattern;
    for (const char* run : {"A", "B"}) fs::create_directories(place_ / run / "checkpoints");
  }
  void TearDown() override { fs::remove_all(place_); }

  void save(const std::string& run, std::int64_t step, const std::vector<Tensor>& tensors,
            const std::string& state = "{}") {
    CheckpointStore(place_ / run / "checkpoints")
        .save(step, {{"model.safetensors", file_of(tensors)}, {"state.json", bytes_of(state)}},
              /*best=*/false);
  }
  void write(const std::string& run, const std::string& name, const std::string& text) {
    replace_file(place_ / run / name, text);
  }
  Comparison compare() {
    return compare_runs(place_ / "A", place_ / "B", [] {});
  }
  // The one difference of two checkpoints with these tensors.
  Difference difference_of(const std::vector<Tensor>& first, const std::vector<Tensor>& second) {
    save("A", 1, first);
    save("B", 1, second);
    const Comparison found = compare();
    EXPECT_THAT(found.differences, SizeIs(1));
    EXPECT_EQ(found.step, 1);
    return found.differences.at(0);
  }
  // That of two metrics.jsonl; none when they are equal.
  std::optional<Difference> difference_of_records(const std::string& first,
                                                  const std::string& second) {
    write("A", "metrics.jsonl", first);
    write("B", "metrics.jsonl", second);
    const Comparison found = compare();
    if (found.equal()) return std::nullopt;
    EXPECT_THAT(found.differences, SizeIs(1));
    return found.differences.at(0);
  }

  fs::path place_;
};

TEST_F(ProveCompare, EqualRuns) {
  for (const char* run : {"A", "B"}) {
    for (const std::int64_t step : {1, 2}) {
      save(run, step, {{"w", {bits(1), 0x7fc00001, 0x80000000}, {3}}}, R"({"epoch": 0})");
    }
    write(run, "metrics.jsonl", "{\"step\": 1, \"loss\": 0.5}\n{\"step\": 2, \"loss\": -0.0}\n");
    write(run, "decisions.jsonl", "{\"epoch\": 1}\n");
  }
  const Comparison found = compare();
  EXPECT_TRUE(found.equal());
  EXPECT_EQ(found.checkpoints, 2);
  EXPECT_EQ(found.metrics, 2);
  EXPECT_EQ(found.decisions, 1);
}

TEST_F(ProveCompare, WhatTimeAndThisStartGaveIsNoDifference) {
  save("A", 1, {{"w", {0}, {1}}}, R"({"stop_reason": "limit", "numerics": "x", "epoch": 1})");
  save("B", 1, {{"w", {0}, {1}}}, R"({"stop_reason": "none", "numerics": "y", "epoch": 1})");
  EXPECT_TRUE(compare().equal());
  EXPECT_FALSE(difference_of_records("{\"step\":1,\"seconds\":{\"data\":1}}\n",
                                     "{\"step\":1,\"seconds\":{\"data\":2}}\n"));
}

TEST_F(ProveCompare, BitsCountAndNotValues) {
  Difference found = difference_of({{"w", {bits(1), bits(0.0F), bits(1), bits(2)}, {2, 2}}},
                                   {{"w", {bits(1), bits(-0.0F), bits(1), bits(3)}, {2, 2}}});
  EXPECT_EQ(found.file, "model.safetensors");
  EXPECT_EQ(found.place, "w [0,1]");
  EXPECT_EQ(found.first, "0x0p+0");
  EXPECT_EQ(found.second, "-0x0p+0");
  EXPECT_EQ(found.differing, 2);
  EXPECT_EQ(found.elements, 4);
  EXPECT_EQ(found.differing_tensors, 1);
  EXPECT_EQ(found.tensors, 1);
}

TEST_F(ProveCompare, PayloadsOfNanAreShown) {
  const Difference found = difference_of({{"w", {0x7fc00000}, {}}}, {{"w", {0x7fc00001}, {}}});
  EXPECT_EQ(found.place, "w []");
  EXPECT_EQ(found.first, "nan (0x7fc00000)");
  EXPECT_EQ(found.second, "nan (0x7fc00001)");
}

TEST_F(ProveCompare, OtherTypesAreShownAsTheirBits) {
  const Difference found = difference_of({{"count", {1, 0, 2, 0}, {2}, "I64"}},
                                         {{"count", {1, 0, 0x1ff, 1}, {2}, "I64"}});
  EXPECT_EQ(found.place, "count [1]");
  EXPECT_EQ(found.first, "0x0000000000000002");
  EXPECT_EQ(found.second, "0x00000001000001ff");
}

TEST_F(ProveCompare, OtherShapesAndTypes) {
  Difference found = difference_of({{"w", {0, 0}, {2, 1}}}, {{"w", {0, 0}, {1, 2}}});
  EXPECT_EQ(found.place, "w");
  EXPECT_EQ(found.first, "F32 [2,1]");
  EXPECT_EQ(found.second, "F32 [1,2]");
  EXPECT_EQ(found.elements, 0);
}

TEST_F(ProveCompare, TensorsOfOneSideOnly) {
  Difference found = difference_of({{"a", {0}, {1}}, {"b", {0}, {1}}}, {{"a", {0}, {1}}});
  EXPECT_EQ(found.place, "b");
  EXPECT_EQ(found.first, "there");
  EXPECT_EQ(found.second, "absent");
  save("A", 2, {{"a", {0}, {1}}});
  EXPECT_EQ(found.differing_tensors, 1);
}

TEST_F(ProveCompare, FilesOfOneSideOnly) {
  save("A", 1, {{"w", {0}, {1}}});
  CheckpointStore(place_ / "B" / "checkpoints")
      .save(1,
            {{"model.safetensors", file_of({{"w", {0}, {1}}})},
             {"ema.safetensors", file_of({{"w", {0}, {1}}})},
             {"state.json", bytes_of("{}")}},
            /*best=*/false);
  const Comparison found = compare();
  ASSERT_THAT(found.differences, SizeIs(1));
  EXPECT_EQ(found.differences[0].file, "ema.safetensors");
  EXPECT_EQ(found.differences[0].first, "absent");
  EXPECT_EQ(found.differences[0].second, "there");
}

TEST_F(ProveCompare, ACheckpointOfOneRunOnly) {
  for (const char* run : {"A", "B"}) save(run, 1, {{"w", {0}, {1}}});
  save("A", 2, {{"w", {0}, {1}}});
  const Comparison found = compare();
  EXPECT_EQ(found.step, 2);
  EXPECT_EQ(found.checkpoints, 1);
  ASSERT_THAT(found.differences, SizeIs(1));
  EXPECT_EQ(found.differences[0].second, "absent");
}

TEST_F(ProveCompare, TheStateIsNamedByItsPlace) {
  save("A", 1, {{"w", {0}, {1}}}, R"({"best": {"metric": 0.5, "list": [1, 2]}})");
  save("B", 1, {{"w", {0}, {1}}}, R"({"best": {"metric": 0.5, "list": [1, 3]}})");
  const Comparison found = compare();
  ASSERT_THAT(found.differences, SizeIs(1));
  EXPECT_EQ(found.differences[0].file, "state.json");
  EXPECT_EQ(found.differences[0].place, "/best/list/1");
  EXPECT_EQ(found.differences[0].first, "2");
}

struct Records {
  const char* first;
  const char* second;
  const char* place;
  const char* first_text;
  const char* second_text;
};

TEST_F(ProveCompare, RecordsDifferByTheirBits) {
  for (const Records& c : {
           Records{"{\"step\":1,\"x\":0.0}\n", "{\"step\":1,\"x\":-0.0}\n", "/x", "0x0p+0",
                   "-0x0p+0"},
           Records{"{\"step\":1,\"x\":1}\n", "{\"step\":1,\"x\":1.0}\n", "/x", "1", "0x1p+0"},
           Records{"{\"step\":1,\"x\":[]}\n", "{\"step\":1,\"x\":null}\n", "/x", "[]", "null"},
           Records{"{\"step\":1,\"x\":{}}\n", "{\"step\":1,\"x\":[]}\n", "/x", "{}", "[]"},
           Records{"{\"step\":1,\"x\":{}}\n", "{\"step\":1}\n", "/x", "{}", "absent"},
           Records{"{\"step\":1,\"x\":[1]}\n", "{\"step\":1,\"x\":[1,2]}\n", "/x/1", "absent", "2"},
           Records{"{\"step\":1}\n{\"step\":2}\n", "{\"step\":1}\n", "the record", "there",
                   "absent"},
           Records{"", "{\"step\":1}\n", "the record", "absent", "there"},
       }) {
    SCOPED_TRACE(std::string(c.first) + c.second);
    const auto found = difference_of_records(c.first, c.second);
    ASSERT_TRUE(found.has_value());
    EXPECT_EQ(found->file, "metrics.jsonl");
    EXPECT_EQ(found->place, std::string("decision record, ") + c.place);
    EXPECT_EQ(found->first, c.first_text);
    EXPECT_EQ(found->second, c.second_text);
  }
}

TEST_F(ProveCompare, TheEarliestStepWins) {
  save("A", 3, {{"w", {0}, {1}}});
  save("B", 3, {{"w", {1}, {1}}});
  const auto found = difference_of_records("{\"kind\":\"step\",\"step\":2,\"loss\":1.5}\n",
                                           "{\"kind\":\"step\",\"step\":2,\"loss\":2.5}\n");
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->place, "step record, /loss");
  EXPECT_EQ(compare().step, 2);
}

TEST_F(ProveCompare, RecordsThatAreNoneAreBadData) {
  for (const char* text : {"{\"step\":1}\n{\"ste", "[]\n", "\n"}) {
    write("A", "metrics.jsonl", text);
    write("B", "metrics.jsonl", text);
    try {
      compare();
      ADD_FAILURE() << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kBadData) << error.what();
      EXPECT_THAT(error.what(), ::testing::HasSubstr("metrics.jsonl: record"));
    }
  }
}

}  // namespace
}  // namespace lockstep
