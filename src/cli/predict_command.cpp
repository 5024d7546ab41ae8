// lockstep predict: the digits on pictures and in data sets.
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "command_line.h"
#include "job_options.h"
#include "lockstep/comm/together.h"
#include "predict_output.h"
#include "predictor.h"
#include "session.h"

namespace lockstep {

namespace {

constexpr std::int64_t kMostCopies = 1000;

enum class Format { kTable, kJson, kCsv };

struct Plan {
  PredictionPlan prediction;
  int top = 1;
  Format format = Format::kTable;
};

std::string word(const ParsedSettings& parsed, const std::string& option,
                 std::initializer_list<const char*> choices) {
  const auto given = parsed.options.find(option);
  if (given == parsed.options.end()) return "";
  if (std::ranges::find(choices, given->second) == choices.end()) {
    fail(ExitCode::kUsage, "--{} {}: expected {}", option, given->second, fmt::join(choices, ", "));
  }
  return given->second;
}

Plan make_plan(const ParsedSettings& parsed) {
  Plan plan;
  if (!parsed.lists.contains("checkpoint")) fail(ExitCode::kUsage, "--checkpoint DIR is needed");
  plan.prediction.checkpoints = parsed.lists.at("checkpoint");
  const auto& options = parsed.options;
  if (options.contains("augment-copies")) {
    plan.prediction.copies = to_int(options.at("augment-copies"), "augment-copies", 0, kMostCopies);
  }
  if (options.contains("top")) plan.top = to_int(options.at("top"), "top", 1, kClasses);
  if (options.contains("json")) plan.format = Format::kJson;
  if (options.contains("csv")) {
    if (plan.format == Format::kJson) fail(ExitCode::kUsage, "--csv and --json exclude each other");
    if (plan.top > 1) fail(ExitCode::kUsage, "--csv has one label an image: it excludes --top");
    plan.format = Format::kCsv;
  }
  if (const std::string how = word(parsed, "preprocess", {"digit", "resize"}); !how.empty()) {
    plan.prediction.digit = how == "digit";
  }
  if (const std::string how = word(parsed, "invert", {"auto", "yes", "no"}); !how.empty()) {
    plan.prediction.invert = how == "auto"  ? Invert::kAuto
                             : how == "yes" ? Invert::kYes
                                            : Invert::kNo;
  }
  return plan;
}

std::string formatted(const PredictedInputs& predictions, const Plan& plan) {
  switch (plan.format) {
    case Format::kJson:
      return prediction_json(predictions, plan.top);
    case Format::kCsv:
      return prediction_csv(predictions);
    case Format::kTable:
      break;
  }
  return prediction_table(predictions, plan.top);
}

ExitCode predict(Session& session) {
  World& world = session.world();
  Plan plan;
  together(world, [&] { plan = make_plan(session.parsed()); });
  Predictor predictor(session, plan.prediction);
  const PredictedInputs predictions = predictor.predict();
  together(world, [&] {
    if (!world.is_root()) return;
    for (const Prediction& image : predictions.images) {
      if (std::isfinite(image.probabilities[0])) continue;
      fail(ExitCode::kDiverged, "{}: the network gives no finite number",
           predictions.files[image.file]);
    }
    print_or_fail(formatted(predictions, plan));
  });
  return predictor.code();
}

ExitCode run_predict(const Command& command, std::span<const std::string> arguments) {
  Session session(command, arguments);
  return reporting(session.world(), [&] { return predict(session); });
}

}  // namespace

Command predict_command() {
  return {
      .name = "predict",
      .summary = "the digits on pictures, or in IDX and CSV files",
      .accepts =
          {.positional = {.name = "INPUT",
                          .help =
                              "PNG or JPEG picture, a directory of them, IDX or CSV file with or "
                              "without labels, a directory with IDX files (its test images), or "
                              "- for standard input",
                          .least = 1,
                          .most = std::numeric_limits<std::size_t>::max()},
           .options =
               {{.name = "checkpoint",
                 .value_name = "DIR",
                 .help = "checkpoint directory, or a run directory or its checkpoints (the best); "
                         "given several times, their probabilities are averaged",
                 .repeatable = true},
                {"augment-copies", "N",
                 "average over N randomly distorted copies of each image too; default 0"},
                {"top", "K", "show the K likeliest labels; default 1"},
                {"preprocess", "HOW",
                 "digit: pictures are made as MNIST was, cropped, scaled and centred (default "
                 "for networks of 1x28x28); resize: stretched to the network's size"},
                {"invert", "HOW",
                 "yes: strokes are dark on light; no: light on dark; auto (default): found "
                 "out for digit, no for resize"},
                {"json", "", "print one JSON object"},
                {"csv", "", "print ImageId,Label, the id being the position in the input"}},
           .settings = {"convolution", "device", "threads", "seed", "rotation", "zoom", "shift-x",
                        "shift-y", "evaluation-batch", "log-level", "backend", "collective-timeout",
                        "ledger-dir"},
           .models = {},
           .defaults = {{"convolution", "the run's"}}},
      .run = run_predict};
}

}  // namespace lockstep
