#include "lockstep/records/predictions.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <span>
#include <system_error>
#include <utility>

#include "lockstep/base/cast.h"
#include "lockstep/base/error.h"
#include "lockstep/base/file.h"
#include "lockstep/checkpoint/json.h"
#include "lockstep/checkpoint/safetensors.h"

namespace lockstep {

namespace {

std::int64_t whole_number(const TensorMetadata& metadata, const std::string& name,
                          const std::string& origin) {
  const auto found = metadata.find(name);
  if (found == metadata.end()) fail(ExitCode::kBadData, "{}: says no {}", origin, name);
  const std::string& text = found->second;
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0) {
    fail(ExitCode::kBadData, "{}: {} is {}, expected a whole number >= 0", origin, name,
         printable(text));
  }
  return value;
}

const StoredTensor& tensor_of(const SafetensorsFile& file, std::string_view name,
                              std::string_view dtype, std::size_t dimensions,
                              const std::string& origin) {
  const StoredTensor* tensor = file.find(name);
  if (tensor == nullptr) fail(ExitCode::kBadData, "{}: has no tensor {}", origin, name);
  if (tensor->dtype != dtype || tensor->shape.size() != dimensions) {
    fail(ExitCode::kBadData, "{}: {} is {} [{}], expected {} of {} dimension{}", origin, name,
         tensor->dtype, fmt::join(tensor->shape, ","), dtype, dimensions,
         dimensions == 1 ? "" : "s");
  }
  return *tensor;
}

template <typename T>
std::vector<T> values_of(const StoredTensor& tensor) {
  std::vector<T> values(tensor.bytes.size() / sizeof(T));
  if (!values.empty()) std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
  return values;
}

}  // namespace

std::filesystem::path predictions_file(const std::filesystem::path& run, std::string_view split) {
  return run / fmt::format("predictions-{}.safetensors", split);
}

void write_predictions(const std::filesystem::path& run, const Predictions& predictions,
                       const std::function<void()>& progress) {
  const auto count = checked_cast<std::int64_t>(predictions.labels.size());
  const std::vector<TensorToWrite> tensors{{.name = "logits",
                                            .shape = {count, predictions.classes},
                                            .bytes = std::as_bytes(std::span(predictions.logits))},
                                           {.name = "samples",
                                            .shape = {count},
                                            .dtype = "I64",
                                            .bytes = std::as_bytes(std::span(predictions.samples))},
                                           {.name = "labels",
                                            .shape = {count},
                                            .dtype = "U8",
                                            .bytes = std::as_bytes(std::span(predictions.labels))}};
  const auto bytes =
      encode_safetensors(tensors, {{"format", "pt"},
                                   {"split", predictions.split},
                                   {"epoch", std::to_string(predictions.epoch)},
                                   {"step", std::to_string(predictions.step)},
                                   {"weights_step", std::to_string(predictions.weights_step)}});
  replace_file(predictions_file(run, predictions.split),
               {reinterpret_cast<const char*>(bytes.data()), bytes.size()}, progress);
}

std::optional<Predictions> read_predictions(const std::filesystem::path& run,
                                            std::string_view split) {
  const std::filesystem::path path = predictions_file(run, split);
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) return std::nullopt;
  const std::string origin = path.string();
  const auto file = SafetensorsFile::parse(read_file(path), origin);
  Predictions predictions;
  const auto named = file.metadata().find("split");
  if (named == file.metadata().end() || named->second != split) {
    fail(ExitCode::kBadData, "{}: does not say that it is of the {} split", origin, split);
  }
  predictions.split = split;
  predictions.epoch = whole_number(file.metadata(), "epoch", origin);
  predictions.step = whole_number(file.metadata(), "step", origin);
  predictions.weights_step = whole_number(file.metadata(), "weights_step", origin);
  const StoredTensor& logits = tensor_of(file, "logits", "F32", 2, origin);
  const StoredTensor& labels = tensor_of(file, "labels", "U8", 1, origin);
  const StoredTensor& samples = tensor_of(file, "samples", "I64", 1, origin);
  predictions.classes = logits.shape[1];
  if (predictions.classes < 1 || labels.shape[0] != logits.shape[0] ||
      samples.shape[0] != logits.shape[0]) {
    fail(ExitCode::kBadData, "{}: logits [{}], {} labels and {} samples do not fit together",
         origin, fmt::join(logits.shape, ","), labels.shape[0], samples.shape[0]);
  }
  predictions.logits = values_of<float>(logits);
  predictions.labels = values_of<std::uint8_t>(labels);
  predictions.samples = values_of<std::int64_t>(samples);
  for (std::size_t i = 0; i < predictions.labels.size(); ++i) {
    if (predictions.labels[i] >= predictions.classes || predictions.samples[i] < 0) {
      fail(ExitCode::kBadData, "{}: entry {}: label {} of sample {}, expected a label below {}",
           origin, i, predictions.labels[i], predictions.samples[i], predictions.classes);
    }
  }
  return predictions;
}

}  // namespace lockstep
