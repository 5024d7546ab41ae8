#include "sample_run.h"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <random>

#include "lockstep/base/file.h"
#include "lockstep/data/load.h"
#include "lockstep/data/split.h"
#include "report/classification.h"

namespace lockstep::test {

namespace {

using Json = nlohmann::ordered_json;

constexpr std::int64_t kStepsPerEpoch = 100;

std::string lines(const std::vector<Json>& records) {
  std::string text;
  for (const Json& record : records) text += record.dump() + "\n";
  return text;
}

Json seconds_of(std::int64_t ranks, double scale) {
  const char* const names[] = {"data",          "forward",   "backward",
                               "communication", "optimizer", "other"};
  const double shares[] = {0.03, 0.3, 0.55, 0.08, 0.03, 0.01};
  Json seconds, by_rank;
  for (std::size_t phase = 0; phase < 6; ++phase) {
    for (std::int64_t rank = 0; rank < ranks; ++rank) {
      const double late = phase == 3 ? 1 + 0.5 * static_cast<double>(rank) : 1;
      by_rank[names[phase]].push_back(scale * shares[phase] * late);
    }
    seconds[names[phase]] = by_rank[names[phase]][0];
  }
  seconds["by_rank"] = by_rank;
  return seconds;
}

Json evaluation(const std::string& kind, const Predictions& predictions) {
  const auto confusion = report::confusion_of(predictions);
  const auto probabilities = probabilities_of(predictions);
  std::int64_t correct = 0;
  double loss = 0;
  for (std::size_t c = 0; c < confusion.size(); ++c) correct += confusion[c][c];
  for (std::size_t i = 0; i < predictions.labels.size(); ++i) {
    loss -= std::log(probabilities[i * confusion.size() + predictions.labels[i]]);
  }
  const auto samples = static_cast<double>(predictions.labels.size());
  return {{"kind", kind},
          {"epoch", predictions.epoch},
          {"step", predictions.step},
          {"loss", loss / samples},
          {"accuracy", static_cast<double>(correct) / samples},
          {"samples", predictions.labels.size()},
          {"confusion", confusion},
          {"samples_per_second", 5000.0},
          {"seconds", {{"evaluation", samples / 5000}}}};
}

std::vector<std::uint8_t> labels_of(const Dataset& data,
                                    const std::vector<std::uint32_t>& indices) {
  std::vector<std::uint8_t> labels;
  for (const std::uint32_t index : indices) labels.push_back(data.labels[index]);
  return labels;
}

Json split_record(const Dataset& data, const std::vector<std::uint32_t>& indices) {
  return {{"samples", indices.size()}, {"class_counts", class_counts(data, indices)}};
}

}  // namespace

Predictions random_predictions(std::uint64_t seed, const std::vector<std::uint8_t>& labels,
                               std::int64_t classes, double skill) {
  Predictions predictions{
      .split = "test", .classes = classes, .logits = {}, .labels = labels, .samples = {}};
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    predictions.samples.push_back(static_cast<std::int64_t>(i));
    for (std::int64_t c = 0; c < classes; ++c) {
      const double towards = c == labels[i] ? skill : 0;
      predictions.logits.push_back(static_cast<float>(towards + 2 * normal(random)));
    }
  }
  return predictions;
}

void write_sample_run(const std::filesystem::path& directory, const SampleRun& sample) {
  lockstep::create_directories(directory);
  const Dataset training = load_training({});
  const Dataset test = *load_test({});
  const Split split = split_dataset(training, {});
  std::vector<std::uint32_t> all(static_cast<std::size_t>(test.count));
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<std::uint32_t>(i);

  replace_file(
      directory / "config.ini",
      fmt::format("# Settings of a lockstep run, complete; --config loads them.\n\n# Data\n"
                  "data =\ntest-data =\n\n# Model and machine\nmodel = lenet\n\n# "
                  "Training\nepochs = {}\nbatch-size = 540\n\n# Learning "
                  "rate\nlearning-rate = {}\n\n# Output\nout = \"{}\"\n",
                  sample.epochs_wanted, sample.learning_rate, directory.string()));
  Json data{{"source", training.source},
            {"sha256", training.sha256()},
            {"shape", {1, 28, 28}},
            {"training", split_record(training, split.training)},
            {"validation", split_record(training, split.validation)},
            {"test", split_record(test, all)}};
  data["test"]["source"] = test.source;
  data["test"]["sha256"] = test.sha256();
  const Json launch{
      {"started", "2026-11-25T10:00:00Z"},
      {"world_size", sample.ranks},
      {"hosts", std::vector<std::string>(static_cast<std::size_t>(sample.ranks), sample.host)},
      {"backend", "mpi"},
      {"numerics", "cpu AVX2 threads=1 torch=2.11.0"},
      {"versions", "lockstep 0.1.0 (LibTorch 2.11.0, Open MPI v4.1.4)"},
      {"torch", "2.11.0"},
      {"parameters", 61706},
      {"data", data}};
  replace_file(directory / "launch.json", launch.dump(2) + "\n");

  std::vector<Json> metrics, decisions;
  double rate = std::stod(sample.learning_rate);
  double best = 0;
  for (std::int64_t epoch = 1; epoch <= sample.epochs; ++epoch) {
    const auto e = static_cast<double>(epoch);
    const auto training_record = [&](const char* kind, std::int64_t step, double seconds) {
      const double progress = static_cast<double>(step) / kStepsPerEpoch;
      metrics.push_back({{"kind", kind},
                         {"epoch", epoch},
                         {"step", step},
                         {"loss", 2.2 * std::exp(-2.2 * progress) + 0.08 / progress},
                         {"accuracy", 1 - 0.85 * std::exp(-2.6 * progress) - 0.03 / (1 + progress)},
                         {"learning_rate", rate},
                         {"samples_per_second", 4000 + 200 * std::sin(progress * 9)},
                         {"seconds", seconds_of(sample.ranks, seconds)}});
    };
    for (std::int64_t step = 20; step <= kStepsPerEpoch; step += 20) {
      training_record("step", (epoch - 1) * kStepsPerEpoch + step, 2.7);
    }
    training_record("train", epoch * kStepsPerEpoch, 13.5);
    Predictions validation =
        random_predictions(sample.seed * 1000 + static_cast<std::uint64_t>(epoch),
                           labels_of(training, split.validation), kClasses,
                           6 + 4 * (1 - std::exp(-e)) - (epoch > 3 ? 0.3 : 0));
    validation.split = "validation";
    validation.epoch = epoch;
    validation.step = epoch * kStepsPerEpoch;
    validation.weights_step = validation.step;
    validation.samples = {split.validation.begin(), split.validation.end()};
    metrics.push_back(evaluation("validation", validation));
    const double metric = metrics.back()["accuracy"];
    const bool is_best = metric > best;
    Json decision{{"epoch", epoch},         {"step", validation.step},
                  {"monitor", "accuracy"},  {"metric_before", nullptr},
                  {"metric_after", metric}, {"learning_rate_before", rate}};
    if (epoch > 1) decision["metric_before"] = best;
    std::string reason = is_best ? "best validation accuracy so far" : "no gain for 1 epoch";
    if (!is_best) {
      reason += fmt::format(": learning rate {} -> {}", rate, rate / 2);
      rate /= 2;
    }
    decision["learning_rate_after"] = rate;
    decision["best"] = is_best;
    decision["stop"] = false;
    decision["reason"] = reason;
    decisions.push_back(decision);
    if (is_best) {
      best = metric;
      if (sample.predictions) write_predictions(directory, validation);
    }
  }
  if (sample.test) {
    Predictions predictions = random_predictions(sample.seed, test.labels, kClasses, 8);
    predictions.epoch = sample.epochs;
    predictions.step = sample.epochs * kStepsPerEpoch;
    predictions.weights_step = predictions.step;
    metrics.push_back(evaluation("test", predictions));
    if (sample.predictions) write_predictions(directory, predictions);
  }
  replace_file(directory / "metrics.jsonl", lines(metrics));
  replace_file(directory / "decisions.jsonl", lines(decisions));
}

}  // namespace lockstep::test
