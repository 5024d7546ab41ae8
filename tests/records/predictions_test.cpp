#include "lockstep/records/predictions.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <random>
#include <span>

#include "../checkpoint/expect_error.h"
#include "../checkpoint/temporary_directory.h"
#include "lockstep/base/file.h"
#include "lockstep/checkpoint/safetensors.h"

namespace lockstep {
namespace {

using test::expect_error;

Predictions three() {
  return {.split = "validation",
          .epoch = 4,
          .step = 1688,
          .weights_step = 1266,
          .classes = 2,
          .logits = {1.5f, -2, 0, 1e-30f, 3, 4},
          .labels = {0, 1, 1},
          .samples = {7, 5'000'000'000, 0}};
}

class PredictionsFile : public testing::Test {
 protected:
  // The file of three(), with some of its tensors and metadata replaced.
  void write(std::vector<TensorToWrite> replaced, TensorMetadata metadata = {}) {
    const Predictions good = three();
    std::vector<TensorToWrite> tensors{
        {.name = "logits", .shape = {3, 2}, .bytes = std::as_bytes(std::span(good.logits))},
        {.name = "samples",
         .shape = {3},
         .dtype = "I64",
         .bytes = std::as_bytes(std::span(good.samples))},
        {.name = "labels",
         .shape = {3},
         .dtype = "U8",
         .bytes = std::as_bytes(std::span(good.labels))}};
    for (TensorToWrite& tensor : replaced) {
      for (TensorToWrite& old : tensors) {
        if (old.name == tensor.name) old = tensor;
      }
    }
    metadata.insert(
        {{"split", "validation"}, {"epoch", "4"}, {"step", "9"}, {"weights_step", "9"}});
    write_file_durably(predictions_file(run_.path(), "validation"),
                       encode_safetensors(tensors, metadata));
  }
  void expect_refusal(const std::string& text) {
    expect_error(ExitCode::kBadData, text, [&] { read_predictions(run_.path(), "validation"); });
  }

  test::TemporaryDirectory run_;
};

TEST_F(PredictionsFile, ReadsBackToWhatWasWritten) {
  write_predictions(run_.path(), three());
  const auto read = read_predictions(run_.path(), "validation");
  ASSERT_TRUE(read);
  const Predictions written = three();
  EXPECT_EQ(read->split, written.split);
  EXPECT_EQ(read->epoch, written.epoch);
  EXPECT_EQ(read->step, written.step);
  EXPECT_EQ(read->weights_step, written.weights_step);
  EXPECT_EQ(read->classes, written.classes);
  EXPECT_EQ(read->logits, written.logits);
  EXPECT_EQ(read->labels, written.labels);
  EXPECT_EQ(read->samples, written.samples);
}

TEST_F(PredictionsFile, IsReplacedAsAWhole) {
  write_predictions(run_.path(), three());
  Predictions other = three();
  other.labels = {1};
  other.logits = {1, 2};
  other.samples = {3};
  write_predictions(run_.path(), other);
  EXPECT_EQ(read_predictions(run_.path(), "validation")->labels.size(), 1u);
}

TEST_F(PredictionsFile, ThatIsNotThereIsNone) {
  EXPECT_FALSE(read_predictions(run_.path(), "test"));
}

TEST_F(PredictionsFile, OfOtherContentIsRefused) {
  write({});
  EXPECT_TRUE(read_predictions(run_.path(), "validation"));
  const std::vector<std::uint8_t> high{0, 2, 1}, two{0, 1};
  const std::vector<std::int64_t> negative{0, 1, -1};
  const std::vector<float> none;
  write({{.name = "labels", .shape = {3}, .dtype = "U8", .bytes = std::as_bytes(std::span(high))}});
  expect_refusal("entry 1: label 2 of sample 5000000000, expected a label below 2");
  write({{.name = "samples",
          .shape = {3},
          .dtype = "I64",
          .bytes = std::as_bytes(std::span(negative))}});
  expect_refusal("entry 2: label 1 of sample -1");
  write({{.name = "labels", .shape = {2}, .dtype = "U8", .bytes = std::as_bytes(std::span(two))}});
  expect_refusal("logits [3,2], 2 labels and 3 samples do not fit together");
  write({{.name = "labels", .shape = {2}, .dtype = "I8", .bytes = std::as_bytes(std::span(two))}});
  expect_refusal("labels is I8 [2], expected U8 of 1 dimension");
  write({{.name = "logits", .shape = {3, 0}, .bytes = std::as_bytes(std::span(none))}});
  expect_refusal("do not fit together");
  write({}, {{"epoch", "-1"}});
  expect_refusal("epoch is \"-1\", expected a whole number");
  write({}, {{"split", "test"}});
  expect_refusal("does not say that it is of the validation split");
}

TEST_F(PredictionsFile, CutAnywhereIsRefused) {
  write_predictions(run_.path(), three());
  const auto path = predictions_file(run_.path(), "validation");
  const std::string whole = read_text_file(path);
  for (std::size_t size = 0; size < whole.size(); ++size) {
    test::overwrite(path, whole.substr(0, size));
    expect_refusal(path.string());
  }
}

}  // namespace
}  // namespace lockstep
