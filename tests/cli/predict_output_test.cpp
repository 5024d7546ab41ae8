#include "cli/predict_output.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace lockstep {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

Prediction prediction(std::int64_t id, std::size_t file, std::int64_t row, int likeliest,
                      double probability) {
  Prediction image{.id = id, .file = file, .row = row};
  image.probabilities.fill((1 - probability) / (kClasses - 1));
  image.probabilities[static_cast<std::size_t>(likeliest)] = probability;
  return image;
}

PredictedInputs sample() {
  PredictedInputs predictions{.files = {"a.png", "bad.png", "b.csv"}, .images = {}};
  predictions.images = {prediction(1, 0, 0, 7, 0.75), prediction(3, 2, 1, 2, 1),
                        prediction(4, 2, 2, 0, 0.99996)};
  predictions.images[1].truth = 2;
  predictions.images[2].truth = 6;
  predictions.failed = {{.id = 2, .file = 1, .problem = "bad.png: is empty"}};
  return predictions;
}

TEST(PredictOutput, TableShowsLabelsAndAccuracy) {
  EXPECT_EQ(prediction_table(sample(), 1),
            "  image  true  label  probability  input\n"
            "      1            7      75.00 %  a.png\n"
            "      3     2      2     100.00 %  b.csv [1]\n"
            "      4     6      0     100.00 %  b.csv [2]\n"
            "accuracy 50.00 % (1 of 2 labelled images)\n");
  PredictedInputs pictures = sample();
  pictures.images.resize(1);
  EXPECT_EQ(prediction_table(pictures, 2),
            "  image  label  probability  label  probability  input\n"
            "      1      7      75.00 %      0       2.78 %  a.png\n");
  EXPECT_EQ(prediction_table({}, 1), "");
}

TEST(PredictOutput, TableKeepsItsLinesWhateverFilesAreCalled) {
  PredictedInputs predictions = sample();
  predictions.images.resize(1);
  predictions.files[0] = "a\n\x1b[2J\x7f\xff caf\u00e9.png";
  EXPECT_EQ(prediction_table(predictions, 1),
            "  image  label  probability  input\n"
            "      1      7      75.00 %  a??[2J?? caf\u00e9.png\n");
}

TEST(PredictOutput, CsvIsTheSubmissionForm) {
  EXPECT_EQ(prediction_csv(sample()), "ImageId,Label\n1,7\n3,2\n4,0\n");
  EXPECT_EQ(prediction_csv({}), "ImageId,Label\n");
}

TEST(PredictOutput, JsonHasEveryDigitOfAProbability) {
  PredictedInputs predictions = sample();
  predictions.images[0].probabilities[7] = 0.1 + 0.2;
  predictions.files[0] = "\xff.png";
  const auto json = nlohmann::json::parse(prediction_json(predictions, 1));
  EXPECT_EQ(json["images"][0]["probability"].get<double>(), 0.1 + 0.2);
  EXPECT_EQ(json["images"][0]["input"], "\xef\xbf\xbd.png");
  EXPECT_EQ(json["images"][1], (nlohmann::json{{"image", 3},
                                               {"input", "b.csv"},
                                               {"row", 1},
                                               {"true", 2},
                                               {"label", 2},
                                               {"probability", 1.0}}));
  EXPECT_EQ(json["failed"],
            (nlohmann::json::array(
                {{{"image", 2}, {"input", "bad.png"}, {"problem", "bad.png: is empty"}}})));
  EXPECT_EQ(json["labelled"], 2);
  EXPECT_EQ(json["accuracy"], 0.5);
  const std::string three = prediction_json(sample(), 3);
  EXPECT_EQ(nlohmann::json::parse(three)["images"][0]["top"].size(), 3u);
  predictions.images.resize(1);
  EXPECT_THAT(prediction_json(predictions, 1), Not(HasSubstr("accuracy")));
  EXPECT_EQ(prediction_json({}, 1), "{\"images\":[],\"failed\":[]}\n");
}

TEST(PredictOutput, EqualProbabilitiesAreRankedByLabel) {
  Prediction image;
  image.probabilities = {0.1, 0.2, 0.1, 0.2, 0, 0.1, 0.1, 0.1, 0.05, 0.05};
  EXPECT_THAT(image.ranking(), ElementsAre(1, 3, 0, 2, 5, 6, 7, 8, 9, 4));
}

}  // namespace
}  // namespace lockstep
