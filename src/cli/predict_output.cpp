#include "predict_output.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>
#include <utility>

#include "lockstep/base/text.h"

namespace lockstep {

namespace {

using Json = nlohmann::ordered_json;

struct Score {
  std::int64_t labelled = 0;
  std::int64_t correct = 0;
  double accuracy() const { return static_cast<double>(correct) / static_cast<double>(labelled); }
};

Score score_of(const PredictedInputs& predictions) {
  Score score;
  for (const Prediction& image : predictions.images) {
    if (!image.truth) continue;
    ++score.labelled;
    if (image.ranking()[0] == *image.truth) ++score.correct;
  }
  return score;
}

double probability(const Prediction& image, int label) {
  return image.probabilities[static_cast<std::size_t>(label)];
}

// A file's name may be anything: it must not break a table's line, nor command a terminal.
std::string on_one_line(std::string name) {
  std::ranges::replace_if(
      name, [](char c) { return (c >= 0 && c < ' ') || c == 0x7f; }, '?');
  return with_valid_utf8(std::move(name));
}

}  // namespace

std::array<int, kClasses> Prediction::ranking() const {
  std::array<int, kClasses> order{};
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, std::greater<>(), [this](int label) {
    return probabilities[static_cast<std::size_t>(label)];
  });
  return order;
}

std::string prediction_table(const PredictedInputs& predictions, int top) {
  if (predictions.images.empty()) return "";
  const Score score = score_of(predictions);
  std::string text = "  image";
  if (score.labelled > 0) text += "  true";
  for (int place = 0; place < top; ++place) text += "  label  probability";
  text += "  input\n";
  for (const Prediction& image : predictions.images) {
    text += fmt::format("{:>7}", image.id);
    if (score.labelled > 0) {
      text += fmt::format("{:>6}", image.truth ? std::to_string(*image.truth) : "");
    }
    const auto ranking = image.ranking();
    for (std::size_t place = 0; place < static_cast<std::size_t>(top); ++place) {
      text += fmt::format("{:>7} {:>10.2f} %", ranking[place],
                          100 * probability(image, ranking[place]));
    }
    text += "  " + on_one_line(predictions.files[image.file]);
    if (image.row > 0) text += fmt::format(" [{}]", image.row);
    text += "\n";
  }
  if (score.labelled > 0) {
    text += fmt::format("accuracy {:.2f} % ({} of {} labelled images)\n", 100 * score.accuracy(),
                        format_count(score.correct), format_count(score.labelled));
  }
  return text;
}

std::string prediction_json(const PredictedInputs& predictions, int top) {
  Json images = Json::array();
  for (const Prediction& image : predictions.images) {
    const auto ranking = image.ranking();
    Json entry{{"image", image.id}, {"input", predictions.files[image.file]}};
    if (image.row > 0) entry["row"] = image.row;
    if (image.truth) entry["true"] = *image.truth;
    entry["label"] = ranking[0];
    entry["probability"] = probability(image, ranking[0]);
    if (top > 1) {
      Json list = Json::array();
      for (std::size_t place = 0; place < static_cast<std::size_t>(top); ++place) {
        list.push_back(
            {{"label", ranking[place]}, {"probability", probability(image, ranking[place])}});
      }
      entry["top"] = list;
    }
    images.push_back(std::move(entry));
  }
  Json failed = Json::array();
  for (const FailedInput& input : predictions.failed) {
    failed.push_back({{"image", input.id},
                      {"input", predictions.files[input.file]},
                      {"problem", input.problem}});
  }
  Json all{{"images", std::move(images)}, {"failed", std::move(failed)}};
  if (const Score score = score_of(predictions); score.labelled > 0) {
    all["labelled"] = score.labelled;
    all["accuracy"] = score.accuracy();
  }
  // A file's name need not be UTF-8.
  return all.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string prediction_csv(const PredictedInputs& predictions) {
  std::string text = "ImageId,Label\n";
  for (const Prediction& image : predictions.images) {
    text += fmt::format("{},{}\n", image.id, image.ranking()[0]);
  }
  return text;
}

}  // namespace lockstep
