#include "inspect_checkpoint.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <span>
#include <string_view>
#include <system_error>

#include "lockstep/base/cast.h"
#include "lockstep/base/hash.h"
#include "lockstep/checkpoint/safetensors.h"
#include "lockstep/checkpoint/store.h"
#include "lockstep/train/checkpoint_reader.h"

namespace lockstep {

namespace {

TensorStatistics statistics(std::span<const std::byte> bytes) {
  // The bytes of a file need not be aligned.
  std::vector<float> values(bytes.size() / sizeof(float));
  if (!values.empty()) std::memcpy(values.data(), bytes.data(), values.size() * sizeof(float));
  const auto infinite = std::partition(values.begin(), values.end(),
                                       [](float value) { return std::isfinite(value); });
  TensorStatistics result{.not_finite = values.end() - infinite};
  values.erase(infinite, values.end());
  if (values.empty()) return result;
  const auto count = static_cast<double>(values.size());
  result.mean = std::accumulate(values.begin(), values.end(), 0.0) / count;
  const auto deviations = [&](double sum, float value) {
    return sum + (value - result.mean) * (value - result.mean);
  };
  result.standard_deviation =
      std::sqrt(std::accumulate(values.begin(), values.end(), 0.0, deviations) / count);
  const auto [smallest, largest] = std::ranges::minmax(values);
  result.smallest = smallest;
  result.largest = largest;
  return result;
}

std::vector<TensorFacts> tensors_of(const std::vector<std::byte>& bytes,
                                    const std::string& origin) {
  std::vector<TensorFacts> tensors;
  const SafetensorsFile file = SafetensorsFile::parse(bytes, origin);
  for (const StoredTensor& tensor : file.tensors()) {
    TensorFacts facts{.name = tensor.name,
                      .dtype = tensor.dtype,
                      .shape = tensor.shape,
                      .count = std::accumulate(tensor.shape.begin(), tensor.shape.end(),
                                               std::int64_t{1}, std::multiplies<>())};
    if (tensor.dtype == "F32") facts.statistics = statistics(tensor.bytes);
    tensors.push_back(std::move(facts));
  }
  // In the network's order, which is the order of the file where all are of one type.
  return tensors;
}

}  // namespace

CheckpointFacts inspect_checkpoint(const std::filesystem::path& directory) {
  CheckpointFacts facts{.directory = directory};
  try {
    const CheckpointStore::Loaded loaded = load_checkpoint(directory);
    facts.state = read_state(loaded);
    facts.global_step = loaded.global_step;
    for (const auto& [name, bytes] : loaded.files) {
      FileFacts file{.name = name, .size = bytes.size(), .sha256 = sha256_hex(bytes)};
      if (name.ends_with(".safetensors")) {
        file.tensors = tensors_of(bytes, (directory / name).string());
      }
      facts.files.push_back(std::move(file));
    }
  } catch (const Error& error) {
    facts = {.directory = directory, .problem = error.what(), .code = error.code()};
  }
  return facts;
}

}  // namespace lockstep
