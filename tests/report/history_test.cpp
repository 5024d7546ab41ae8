#include "lockstep/report/history.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "../checkpoint/expect_error.h"
#include "../checkpoint/temporary_directory.h"
#include "lockstep/base/file.h"
#include "lockstep/records/run_directory.h"
#include "report/history_files.h"
#include "report/summary.h"
#include "sample_run.h"

namespace lockstep::report {
namespace {

using test::expect_error;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr const char* kStep =
    R"({"kind":"step","epoch":1,"step":20,"loss":0.5,"accuracy":0.75,"learning_rate":0.001,)"
    R"("samples_per_second":100.0,"seconds":{"data":1,"forward":2,"backward":3,"communication":4,)"
    R"("optimizer":5,"other":6}})";

History metrics(const std::string& text) {
  History history;
  read_metrics(text, "metrics.jsonl", history);
  return history;
}

TEST(Metrics, LeaveOutALineThatIsBeingWritten) {
  const std::string whole = std::string(kStep) + "\n";
  for (std::size_t size = 0; size < whole.size(); ++size) {
    EXPECT_EQ(metrics(whole + whole.substr(0, size)).steps.size(), 1u);
  }
  EXPECT_EQ(metrics(whole + whole).steps.size(), 2u);
  EXPECT_THAT(metrics("").steps, IsEmpty());
}

TEST(Metrics, AreTakenAsTheyAre) {
  const TrainingRecord step = metrics(std::string(kStep) + "\n").steps.at(0);
  EXPECT_EQ(step.epoch, 1);
  EXPECT_EQ(step.step, 20);
  EXPECT_EQ(step.loss, 0.5);
  EXPECT_EQ(step.metric, 0.75);
  EXPECT_EQ(step.learning_rate, 0.001);
  EXPECT_EQ(step.samples_per_second, 100);
  EXPECT_THAT(step.seconds, ElementsAre(1, 2, 3, 4, 5, 6));
  EXPECT_EQ(total(step.seconds), 21);
  EXPECT_THAT(step.by_rank, IsEmpty());
}

TEST(Metrics, SayNullForWhatIsNoNumber) {
  std::string line = kStep;
  line.replace(line.find("0.5"), 3, "null");
  EXPECT_TRUE(std::isnan(metrics(line + "\n").steps.at(0).loss));
}

TEST(Metrics, OfAnotherKindAreRefusedWithTheirLine) {
  const std::string good = std::string(kStep) + "\n";
  const auto refuse = [&](const std::string& from, const std::string& to, const std::string& text) {
    std::string line = good;
    line.replace(line.find(from), from.size(), to);
    expect_error(ExitCode::kBadData, "metrics.jsonl: line 2: " + text,
                 [&] { metrics(good + line); });
  };
  refuse("\"loss\":0.5", "\"loss\":\"0.5\"", "loss: expected a number");
  refuse("\"loss\":0.5,", "", "loss is missing");
  refuse("\"step\":20", "\"step\":-20", "step: expected a whole number >= 0");
  refuse("\"step\":20", "\"step\":20.5", "step: expected a whole number >= 0");
  refuse("\"kind\":\"step\"", "\"kind\":\"stop\"", "kind stop: expected");
  refuse("\"data\":1,", "", "seconds: data is missing");
  refuse("{\"kind\"", "[{\"kind\"", "is not valid JSON");
  refuse("\"epoch\":1", "\"epoch\":1,\"epoch\":1", "");
}

TEST(Metrics, OfAnEvaluationMustFitTogether) {
  const auto line = [](const char* samples, const char* confusion) {
    return std::string(R"({"kind":"test","epoch":1,"step":2,"loss":1,"accuracy":0.5,"samples":)") +
           samples + R"(,"confusion":)" + confusion + R"(,"seconds":{"evaluation":1}})" + "\n";
  };
  EXPECT_EQ(metrics(line("2", "[[1,0],[1,0]]")).test->samples, 2);
  expect_error(ExitCode::kBadData, "of 2 samples, expected 3",
               [&] { metrics(line("3", "[[1,0],[1,0]]")); });
  expect_error(ExitCode::kBadData, "as many columns as rows",
               [&] { metrics(line("1", "[[1,0]]")); });
  expect_error(ExitCode::kBadData, "at least one class", [&] { metrics(line("0", "[]")); });
}

TEST(SettingsFile, KeepsGroupsAndValues) {
  const auto settings = parse_settings_file(
      "# Settings of a lockstep run, complete; --config loads them.\n\n# Data\ndata =\ntest-data = "
      "\"a \"\"b\"\" # c\"\n\n# Model and machine\nmodel = lenet\n# batch-size does not count "
      "here\n"
      "seed = 1",
      "config.ini");
  ASSERT_EQ(settings.size(), 4u);
  EXPECT_EQ(settings[0].group, "Data");
  EXPECT_EQ(settings[0].name, "data");
  EXPECT_EQ(settings[0].value, "");
  EXPECT_EQ(settings[1].value, "a \"b\" # c");
  EXPECT_EQ(settings[2].group, "Model and machine");
  EXPECT_EQ(settings[3].group, "Model and machine");
  EXPECT_EQ(settings[3].value, "1");
  expect_error(ExitCode::kBadData, "run/config.ini: line 3: \"epochs=3\": expected a setting",
               [] { parse_settings_file("# Data\n\nepochs=3\n", "run/config.ini"); });
}

class RunTest : public testing::Test {
 protected:
  std::filesystem::path make(const test::SampleRun& sample) {
    test::write_sample_run(parent_ / "run", sample);
    return parent_ / "run";
  }
  test::TemporaryDirectory parent_;
};

TEST_F(RunTest, ThatIsDoneHasAllOfIt) {
  const History history = read_history(make({}));
  EXPECT_EQ(history.status, Status::kDone);
  EXPECT_EQ(history.epochs.size(), 5u);
  EXPECT_EQ(history.validations.size(), 5u);
  EXPECT_EQ(history.decisions.size(), 5u);
  EXPECT_EQ(history.epochs[0].by_rank.size(), 2u);
  ASSERT_TRUE(history.test && history.test_predictions && history.validation_predictions);
  EXPECT_EQ(confusion_of(*history.test_predictions), history.test->confusion);
  EXPECT_EQ(history.launches.at(0).splits.at(2).samples, 10000);
  EXPECT_EQ(history.launches.at(0).parameters, 61706);
  EXPECT_THAT(history.notes, IsEmpty());
  EXPECT_EQ(history.name(), "run");
}

TEST_F(RunTest, ThatIsCutShortHasStopped) {
  EXPECT_EQ(read_history(make({.epochs = 3, .test = false})).status, Status::kStopped);
  // Trained to the end, but not tested.
  EXPECT_EQ(read_history(make({.test = false})).status, Status::kStopped);
}

TEST_F(RunTest, GoesOnWhileItIsOpen) {
  const auto directory = make({.epochs = 3, .test = false});
  std::optional<RunDirectory> open = RunDirectory::open(directory, RunDirectory::Mode::kResume);
  EXPECT_EQ(read_history(directory).status, Status::kRunning);
  open.reset();
  EXPECT_EQ(read_history(directory).status, Status::kStopped);
}

TEST_F(RunTest, WithoutPredictionsSaysSo) {
  const History history = read_history(make({.predictions = false}));
  EXPECT_FALSE(history.test_predictions || history.validation_predictions);
  EXPECT_THAT(history.notes,
              testing::Contains(HasSubstr("predictions-test.safetensors is not there")));
}

TEST_F(RunTest, LeavesOutPredictionsOfAnotherEvaluation) {
  const auto directory = make({});
  Predictions other = *read_predictions(directory, "test");
  other.labels[0] = static_cast<std::uint8_t>((other.labels[0] + 1) % 10);
  write_predictions(directory, other);
  const History history = read_history(directory);
  EXPECT_FALSE(history.test_predictions);
  EXPECT_THAT(history.notes, testing::Contains(HasSubstr("it was left out")));
}

TEST_F(RunTest, NamesALineThatWasCutShort) {
  const auto directory = make({.epochs = 3, .test = false});
  for (const char* name : {"metrics.jsonl", "decisions.jsonl"}) {
    const std::string content = read_text_file(directory / name);
    replace_file(directory / name, content.substr(0, content.size() - 10));
    EXPECT_THAT(
        read_history(directory).notes,
        testing::Contains(HasSubstr(std::string(name) + ": its last line was cut short (")));
    // Of a run that goes on, it is being written.
    const auto open = RunDirectory::open(directory, RunDirectory::Mode::kResume);
    EXPECT_THAT(read_history(directory).notes,
                testing::Not(testing::Contains(HasSubstr("cut short"))));
    replace_file(directory / name, content);
  }
}

// Without the first lines, as when a run goes on in a new directory.
TEST_F(RunTest, BegunElsewhereSaysSo) {
  const auto directory = make({.epochs = 3, .test = false});
  std::string kept;
  const std::string all = read_text_file(directory / "metrics.jsonl");
  for (std::size_t begin = 0, end; (end = all.find('\n', begin)) != all.npos; begin = end + 1) {
    const std::string line = all.substr(begin, end - begin);
    if (line.find("\"epoch\":3,") != line.npos) kept += line + "\n";
  }
  replace_file(directory / "metrics.jsonl", kept);
  replace_file(directory / "decisions.jsonl", "");
  const History history = read_history(directory);
  EXPECT_THAT(history.notes, testing::Contains(HasSubstr("recorded of epochs 1 to 2 is not here")));
  const Summary summary = summarise(history);
  EXPECT_EQ(summary.best, nullptr);
  EXPECT_EQ(summary.judged, &history.validations.back());
  EXPECT_EQ(summary.predictions, nullptr);
}

TEST_F(RunTest, MustBeOne) {
  expect_error(ExitCode::kInputMissing, "no such directory",
               [&] { read_history(parent_ / "nothing"); });
  expect_error(ExitCode::kInputMissing, "holds no run", [&] { read_history(parent_.path()); });
}

TEST_F(RunTest, IsSummedUpOnce) {
  const History history = read_history(make({.epochs = 2}));
  const Summary summary = summarise(history);
  EXPECT_EQ(summary.split, "test");
  EXPECT_EQ(summary.judged, &*history.test);
  double seconds = 0, samples = 0;
  for (const TrainingRecord& epoch : history.epochs) {
    seconds += total(epoch.seconds);
    samples += total(epoch.seconds) * epoch.samples_per_second;
  }
  EXPECT_DOUBLE_EQ(summary.training_seconds, seconds);
  EXPECT_DOUBLE_EQ(*summary.throughput, samples / seconds);
  EXPECT_EQ(summary.errors + std::llround(history.test->metric * 10000), 10000);
  EXPECT_EQ(summary.steps_per_epoch, 100);
  EXPECT_EQ(position(summary, 150), 1.5);
  ASSERT_EQ(summary.by_rank.size(), 2u);
  EXPECT_DOUBLE_EQ(summary.by_rank[1][3], 2 * history.epochs[0].by_rank[1][3]);
}

}  // namespace
}  // namespace lockstep::report
