// lockstep evaluate: metrics of a checkpoint on a data set.
#include <cmath>
#include <nlohmann/json.hpp>

#include "checkpoint_choice.h"
#include "command_line.h"
#include "lockstep/base/file.h"
#include "lockstep/base/log.h"
#include "lockstep/base/text.h"
#include "lockstep/checkpoint/safetensors.h"
#include "lockstep/comm/together.h"
#include "lockstep/data/split.h"
#include "lockstep/model/flat_parameters.h"
#include "lockstep/train/checkpoint_reader.h"
#include "lockstep/train/evaluation.h"
#include "session.h"

namespace lockstep {

namespace {

using Json = nlohmann::ordered_json;

std::string option(const ParsedSettings& parsed, const std::string& name,
                   const std::string& fallback) {
  const auto found = parsed.options.find(name);
  return found == parsed.options.end() ? fallback : found->second;
}

// The run's settings where the command line does not name others.
Settings with_stored(const ParsedSettings& parsed, const CheckpointReader& reader) {
  const TrainingState& state = reader.state();
  std::vector<std::string> arguments;
  for (const char* name : {"model", "data", "test-data", "validation-fraction", "split-seed",
                           "stratify", "evaluation-batch"}) {
    const auto value = state.settings.find(name);
    if (value != state.settings.end() && !value->second.empty()) {
      arguments.push_back(fmt::format("--{}={}", name, value->second));
    }
  }
  const Settings stored = parse_settings(arguments).settings;
  Settings settings = parsed.settings;
  const auto given = [&](const char* name) { return parsed.sources.at(name) != Source::kDefault; };
  settings.model.name = stored.model.name;
  // Test data belong to the training data they were given with.
  if (!given("data") && !given("test-data")) settings.data.test_data = stored.data.test_data;
  if (!given("data")) settings.data.data = stored.data.data;
  if (!given("validation-fraction")) {
    settings.data.validation_fraction = stored.data.validation_fraction;
  }
  if (!given("evaluation-batch")) {
    settings.train.evaluation_batch = stored.train.evaluation_batch;
  }
  if (!given("convolution")) settings.model.convolution = reader.network_shape().convolution;
  if (!given("split-seed")) settings.data.split_seed = stored.data.split_seed;
  if (!given("stratify")) settings.data.stratify = stored.data.stratify;
  return settings;
}

struct Samples {
  std::shared_ptr<const ImageSamples> images;
  std::vector<std::uint32_t> indices;
};

Samples load_samples(const DataOptions& options, const std::string& split) {
  std::optional<Dataset> dataset;
  if (split == "test") {
    dataset = load_test(options);
    if (!dataset) {
      fail(ExitCode::kInputMissing,
           "{}: has no test data; name some with --test-data, or choose --split all",
           options.data.string());
    }
  } else if (split == "validation" || split == "all") {
    dataset = load_training(options);
  } else {
    fail(ExitCode::kUsage, "--split {}: expected test, validation or all", split);
  }
  Samples samples;
  if (split == "validation") {
    samples.indices = split_dataset(*dataset, options).validation;
    if (samples.indices.empty()) {
      fail(ExitCode::kUsage, "--split validation: the validation fraction is 0");
    }
  } else {
    samples.indices = all_indices(dataset->count);
  }
  samples.images =
      std::make_shared<const ImageSamples>(std::make_shared<const Dataset>(std::move(*dataset)));
  return samples;
}

std::string table(const Evaluation& result) {
  std::string text = fmt::format("samples   {}\nloss      {:.6f}\naccuracy  {:.4f} %\n\n",
                                 result.samples, result.loss, 100 * result.metric);
  text += "label  accuracy   predicted as\n        ";
  for (std::size_t c = 0; c < result.confusion.size(); ++c) text += fmt::format("{:>7}", c);
  text += "\n";
  for (std::size_t c = 0; c < result.confusion.size(); ++c) {
    text += fmt::format("{:>5} {:>8.2f} %", c, 100 * result.class_accuracy[c]);
    for (const std::int64_t count : result.confusion[c]) text += fmt::format("{:>7}", count);
    text += "\n";
  }
  return text;
}

std::string json_text(const Evaluation& result) {
  return Json{{"loss", result.loss},
              {"accuracy", result.metric},
              {"per_class", result.class_accuracy},
              {"confusion", result.confusion},
              {"samples", result.samples}}
             .dump() +
         "\n";
}

ExitCode evaluate(Session& session) {
  World& world = session.world();
  std::optional<CheckpointReader> reader;
  Settings settings;
  Samples samples;
  std::shared_ptr<Network> network;
  together(world, [&] {
    const std::string directory = option(session.parsed(), "checkpoint", "");
    if (directory.empty()) fail(ExitCode::kUsage, "--checkpoint DIR is needed");
    reader.emplace(checkpoint_directory(directory));
    settings = with_stored(session.parsed(), *reader);
    const std::string split = option(session.parsed(), "split", "test");
    samples = load_samples(settings.data, split);
    if (split == "validation" && world.is_root() &&
        samples.images->sha256() != reader->state().data_sha256) {
      log_warning("{}: is not the data the checkpoint was trained on: another split",
                  samples.images->source());
    }
    if (session.parsed().sources.at("convolution") != Source::kDefault) {
      check_convolution(settings.model.convolution, settings.model.name);
    }
    try {
      network = network_for(settings, *samples.images->images());
    } catch (const Error& error) {  // of another program, or for other images
      fail(ExitCode::kBadData, "{}: {}", directory, error.what());
    }
  });
  session.require_equal(samples.images->sha256(), "data", ExitCode::kBadData);
  session.require_equal(reader->sha256(), "checkpoint", ExitCode::kBadData);
  FlatParameters parameters(network, session.device().device);
  together(world, [&] { reader->read_evaluation_weights(parameters); });

  world.enter_phase(Phase::kEvaluation);
  const Classification objective(kClasses);
  Evaluator evaluator(world, session.device(), network, settings.train.evaluation_batch,
                      /*root_only=*/false);
  const std::vector<float> logits = evaluator.rows(*samples.images, objective, samples.indices);
  together(world, [&] {
    if (!world.is_root()) return;
    const Evaluation result =
        objective.summarise(logits, targets_at(*samples.images, samples.indices));
    if (const std::string file = option(session.parsed(), "logits", ""); !file.empty()) {
      const std::vector<TensorToWrite> tensors{{.name = "logits",
                                                .shape = {result.samples, kClasses},
                                                .bytes = std::as_bytes(std::span(logits))}};
      write_file_durably(file, encode_safetensors(tensors));
    }
    const bool json = session.parsed().options.contains("json");
    print_or_fail(json ? json_text(result) : table(result));
    if (!std::isfinite(result.loss)) {
      fail(ExitCode::kDiverged, "the loss of this checkpoint is not finite");
    }
  });
  return ExitCode::kDone;
}

ExitCode run_evaluate(const Command& command, std::span<const std::string> arguments) {
  Session session(command, arguments);
  return reporting(session.world(), [&] { return evaluate(session); });
}

}  // namespace

Command evaluate_command() {
  return {
      .name = "evaluate",
      .summary = "loss, accuracy and confusion matrix of a checkpoint",
      .accepts =
          {.options = {{"checkpoint", "DIR",
                        "checkpoint directory, or a run directory or its checkpoints (the best)"},
                       {"split", "NAME",
                        "test (default), validation (of the training data, as the run split "
                        "it) or all (of the training data)"},
                       {"json", "", "print one JSON object"},
                       {"logits", "FILE",
                        "write tensor logits [N,10] in data order as safetensors"}},
           .settings = {"data", "test-data", "validation-fraction", "split-seed", "stratify",
                        "convolution", "device", "threads", "evaluation-batch", "log-level",
                        "backend", "collective-timeout", "ledger-dir"},
           .models = {},
           .defaults = {{"data", "the run's"},
                        {"test-data", "the run's, without --data"},
                        {"validation-fraction", "the run's"},
                        {"split-seed", "the run's"},
                        {"stratify", "the run's"},
                        {"convolution", "the run's"},
                        {"evaluation-batch", "the run's"}}},
      .run = run_evaluate};
}

}  // namespace lockstep
