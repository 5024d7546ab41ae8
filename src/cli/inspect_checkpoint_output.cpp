// What lockstep inspect says of a checkpoint.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "inspect_checkpoint.h"
#include "inspect_line.h"
#include "lockstep/base/text.h"

namespace lockstep {

namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kColumns = 100;
constexpr std::size_t kIndent = 12;

std::string line(const std::string& title, const std::string& content) {
  return titled_line(title, kIndent, content, kColumns);
}

std::string verification(const CheckpointFacts& facts) {
  std::uint64_t bytes = 0;
  std::vector<std::string> names;
  for (const FileFacts& file : facts.files) {
    bytes += file.size;
    names.push_back(file.name);
  }
  return fmt::format("sizes and SHA-256 of all {} files are right ({}): {}", facts.files.size(),
                     format_bytes(bytes), fmt::join(names, ", "));
}

std::string position(const CheckpointFacts& facts) {
  const Cursor& at = facts.state.cursor;
  std::string text =
      fmt::format("global step {}, after epoch {}", format_count(facts.global_step), at.epoch);
  if (at.step_in_epoch > 0) text += fmt::format(" and {} steps", format_count(at.step_in_epoch));
  const StopReason reason = facts.state.stop_reason;
  if (reason != StopReason::kNone)
    text += fmt::format("; the run ended here: {}", to_string(reason));
  if (const std::int64_t skipped = facts.state.skipped_steps; skipped > 0) {
    text += fmt::format("; {} steps skipped, their gradient not being finite", skipped);
  }
  return text;
}

std::string best(const TrainingState& state) {
  if (!state.best) return "no validation so far";
  const auto monitor = state.settings.find("monitor");
  return fmt::format("{} {:.6g} after epoch {} (global step {}); epochs without gain since: {}",
                     monitor == state.settings.end() ? "metric" : "validation " + monitor->second,
                     state.best->metric, state.best->epoch, format_count(state.best->global_step),
                     state.epochs_without_gain);
}

std::string training_metrics(const TrainingState& state) {
  const LossSums& sums = state.epoch_sums.samples > 0 ? state.epoch_sums : state.window_sums;
  if (sums.samples == 0) return "";
  const auto samples = static_cast<double>(sums.samples);
  return line(
      "training",
      fmt::format("loss {:.6g}, accuracy {:.2f} % over the last {} images", sums.loss / samples,
                  100 * static_cast<double>(sums.correct) / samples, format_count(sums.samples)));
}

std::string data_line(const TrainingState& state) {
  std::string text = fmt::format("{} images are trained on", format_count(state.training_samples));
  if (!state.image_shape.empty()) {
    text += fmt::format(", each {}", fmt::join(state.image_shape, "x"));
  }
  return text + "; SHA-256 of the training data " + state.data_sha256;
}

std::string settings_line(const TrainingState& state) {
  std::vector<std::string> settings;
  for (const auto& [name, value] : state.settings) {
    settings.push_back(fmt::format("{}={}", name, value.empty() ? "\"\"" : value));
  }
  return fmt::format("{}", fmt::join(settings, " "));
}

std::string tensors_text(const FileFacts& file) {
  std::int64_t values = 0;
  std::size_t width = 6;
  for (const TensorFacts& tensor : file.tensors) {
    values += tensor.count;
    width = std::max(width, tensor.name.size());
  }
  std::string text = fmt::format("\n{}: {} tensors, {} values\n", file.name, file.tensors.size(),
                                 format_count(values));
  text += fmt::format("  {:<{}}  {:<14}{:>10}{:>12}{:>12}{:>12}{:>12}\n", "tensor", width, "shape",
                      "values", "mean", "deviation", "smallest", "largest");
  for (const TensorFacts& tensor : file.tensors) {
    text +=
        fmt::format("  {:<{}}  {:<14}{:>10}", tensor.name, width,
                    fmt::format("{}", fmt::join(tensor.shape, "x")), format_count(tensor.count));
    if (const auto& s = tensor.statistics) {
      text += fmt::format("{:>12.4g}{:>12.4g}{:>12.4g}{:>12.4g}", s->mean, s->standard_deviation,
                          s->smallest, s->largest);
      if (s->not_finite > 0) text += fmt::format("  {} NOT FINITE", format_count(s->not_finite));
    } else {
      text += "  " + tensor.dtype;
    }
    text += "\n";
  }
  return text;
}

Json tensor_json(const TensorFacts& tensor) {
  Json json{{"name", tensor.name},
            {"dtype", tensor.dtype},
            {"shape", tensor.shape},
            {"values", tensor.count}};
  if (const auto& s = tensor.statistics) {
    json["mean"] = s->mean;
    json["standard_deviation"] = s->standard_deviation;
    json["smallest"] = s->smallest;
    json["largest"] = s->largest;
    json["not_finite"] = s->not_finite;
  }
  return json;
}

}  // namespace

std::string checkpoint_text(const CheckpointFacts& facts) {
  std::string text = line("checkpoint", facts.directory.string());
  if (!facts.problem.empty()) return text + line("DAMAGED", facts.problem);
  const TrainingState& state = facts.state;
  text += line("verified", verification(facts)) + line("position", position(facts)) +
          line("best", best(state)) + training_metrics(state) + line("data", data_line(state)) +
          line("numbers", state.numerics) + line("settings", settings_line(state));
  for (const FileFacts& file : facts.files) {
    if (!file.tensors.empty()) text += tensors_text(file);
  }
  return text;
}

std::string checkpoint_json(const CheckpointFacts& facts) {
  Json json{{"kind", "checkpoint"},
            {"path", facts.directory.string()},
            {"verified", facts.problem.empty()}};
  if (facts.problem.empty()) {
    json["global_step"] = facts.global_step;
    json["files"] = Json::array();
    for (const FileFacts& file : facts.files) {
      Json entry{{"name", file.name}, {"size", file.size}, {"sha256", file.sha256}};
      for (const TensorFacts& tensor : file.tensors) {
        entry["tensors"].push_back(tensor_json(tensor));
      }
      json["files"].push_back(std::move(entry));
    }
    json["state"] = Json::parse(encode_state(facts.state));
  } else {
    json["problem"] = facts.problem;
  }
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace lockstep
