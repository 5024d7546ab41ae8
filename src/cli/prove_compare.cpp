#include "prove_compare.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string_view>

#include "lockstep/base/error.h"
#include "lockstep/base/file.h"
#include "lockstep/checkpoint/safetensors.h"
#include "lockstep/checkpoint/store.h"

namespace lockstep {

namespace {

using Json = nlohmann::json;
using Files = std::map<std::string, std::vector<std::byte>>;

constexpr const char* kAbsent = "absent";

// What is first in a list is reported first: weights are what people know best.
constexpr std::string_view kFiles[] = {"model.safetensors", "optimizer.safetensors",
                                       "ema.safetensors", "state.json"};

std::string value_text(float value) {
  if (!std::isnan(value)) return fmt::format("{:a}", value);
  return fmt::format("nan ({:#010x})", std::bit_cast<std::uint32_t>(value));
}

std::string element_text(const StoredTensor& tensor, std::size_t element, std::size_t width) {
  const auto bytes = tensor.bytes.subspan(element * width, width);
  if (tensor.dtype == "F32") {
    float value = 0;
    std::memcpy(&value, bytes.data(), sizeof(value));
    return value_text(value);
  }
  std::string text = "0x";
  for (auto byte = bytes.rbegin(); byte != bytes.rend(); ++byte) {
    text += fmt::format("{:02x}", std::to_integer<int>(*byte));
  }
  return text;
}

std::vector<std::int64_t> index_of(std::size_t element, const std::vector<std::int64_t>& shape) {
  std::vector<std::int64_t> index(shape.size());
  auto rest = static_cast<std::int64_t>(element);
  for (std::size_t i = shape.size(); i-- > 0; rest /= shape[i]) index[i] = rest % shape[i];
  return index;
}

// Fills in all but the file and its numbers of tensors.
Difference compare_tensors(const StoredTensor& first, const StoredTensor& second) {
  const auto describe = [](const StoredTensor& tensor) {
    return fmt::format("{} [{}]", tensor.dtype, fmt::join(tensor.shape, ","));
  };
  Difference found{.place = first.name};
  if (first.dtype != second.dtype || first.shape != second.shape) {
    found.first = describe(first);
    found.second = describe(second);
    return found;
  }
  std::int64_t elements = 1;
  for (const std::int64_t extent : first.shape) elements *= extent;
  const std::size_t width = first.bytes.size() / static_cast<std::size_t>(elements);
  found.elements = elements;
  for (std::size_t i = 0; i < static_cast<std::size_t>(elements); ++i) {
    if (std::memcmp(&first.bytes[i * width], &second.bytes[i * width], width) == 0) continue;
    if (found.differing++ > 0) continue;
    found.place = fmt::format("{} [{}]", first.name, fmt::join(index_of(i, first.shape), ","));
    found.first = element_text(first, i, width);
    found.second = element_text(second, i, width);
  }
  return found;
}

std::optional<Difference> compare_safetensors(const std::string& name,
                                              std::vector<std::byte> first_bytes,
                                              std::vector<std::byte> second_bytes) {
  const auto first = SafetensorsFile::parse(std::move(first_bytes), name);
  const auto second = SafetensorsFile::parse(std::move(second_bytes), name);
  std::optional<Difference> found;
  std::int64_t differing = 0;
  const auto note = [&](Difference difference) {
    if (differing++ == 0) found = std::move(difference);
  };
  for (const StoredTensor& tensor : first.tensors()) {
    const StoredTensor* other = second.find(tensor.name);
    if (other == nullptr) {
      note({.place = tensor.name, .first = "there", .second = kAbsent});
    } else if (tensor.dtype != other->dtype || tensor.shape != other->shape ||
               !std::ranges::equal(tensor.bytes, other->bytes)) {
      note(compare_tensors(tensor, *other));
    }
  }
  for (const StoredTensor& tensor : second.tensors()) {
    if (first.find(tensor.name) == nullptr) {
      note({.place = tensor.name, .first = kAbsent, .second = "there"});
    }
  }
  if (!found) note({.place = "the file's header", .first = "one", .second = "another"});
  found->file = name;
  found->differing_tensors = differing;
  found->tensors = static_cast<std::int64_t>(first.tensors().size());
  return found;
}

std::string value_text(const Json& value) {
  if (value.is_number_float()) return fmt::format("{:a}", value.get<double>());
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

// Of one kind and, as numbers, of the same bits: to nlohmann 0.0 is -0.0, and 1 is 1.0.
bool same_value(const Json& first, const Json& second) {
  if (first.type() != second.type()) return false;
  if (!first.is_number_float()) return first == second;
  return std::bit_cast<std::uint64_t>(first.get<double>()) ==
         std::bit_cast<std::uint64_t>(second.get<double>());
}

std::optional<Difference> compare_json(const Json& first, const Json& second,
                                       const std::string& place = "") {
  const auto compare_parts = [&](const Json* one, const Json* two, const std::string& part) {
    if (one != nullptr && two != nullptr) return compare_json(*one, *two, part);
    return std::optional(Difference{.place = part,
                                    .first = one != nullptr ? value_text(*one) : kAbsent,
                                    .second = two != nullptr ? value_text(*two) : kAbsent});
  };
  if (first.is_object() && second.is_object()) {
    std::set<std::string> keys;
    for (const Json* object : {&first, &second}) {
      for (const auto& [key, value] : object->items()) keys.insert(key);
    }
    for (const std::string& key : keys) {
      const auto find = [&](const Json& object) {
        const auto found = object.find(key);
        return found == object.end() ? nullptr : &*found;
      };
      auto found = compare_parts(find(first), find(second), place + "/" + key);
      if (found) return found;
    }
    return std::nullopt;
  }
  if (first.is_array() && second.is_array()) {
    for (std::size_t i = 0; i < std::max(first.size(), second.size()); ++i) {
      const auto at = [&](const Json& array) { return i < array.size() ? &array[i] : nullptr; };
      auto found = compare_parts(at(first), at(second), fmt::format("{}/{}", place, i));
      if (found) return found;
    }
    return std::nullopt;
  }
  if (same_value(first, second)) return std::nullopt;
  return Difference{.place = place, .first = value_text(first), .second = value_text(second)};
}

// What may differ between equal runs: why they stopped, and what they were computed with.
Json state_of(const std::vector<std::byte>& bytes) {
  Json state = Json::parse(reinterpret_cast<const char*>(bytes.data()),
                           reinterpret_cast<const char*>(bytes.data()) + bytes.size());
  for (const char* key : {"stop_reason", "numerics"}) state.erase(key);
  return state;
}

std::vector<Difference> compare_checkpoints(const Files& first, const Files& second) {
  std::vector<Difference> found;
  for (const std::string_view file : kFiles) {
    const std::string name(file);
    const auto one = first.find(name), two = second.find(name);
    if (one == first.end() && two == second.end()) continue;
    std::optional<Difference> difference;
    if (one == first.end() || two == second.end()) {
      difference = Difference{.place = "the file",
                              .first = one == first.end() ? kAbsent : "there",
                              .second = two == second.end() ? kAbsent : "there"};
    } else if (one->second == two->second) {
      continue;
    } else if (name == "state.json") {
      difference = compare_json(state_of(one->second), state_of(two->second));
    } else {
      difference = compare_safetensors(name, one->second, two->second);
    }
    if (!difference) continue;
    difference->file = name;
    found.push_back(std::move(*difference));
  }
  return found;
}

std::vector<Json> records_in(const std::filesystem::path& file) {
  std::vector<Json> records;
  std::error_code ignored;
  if (!std::filesystem::exists(file, ignored)) return records;
  const std::string text = read_text_file(file);
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    Json record = Json::parse(text.substr(begin, end - begin), nullptr, /*allow_exceptions=*/false);
    if (!record.is_object()) {
      fail(ExitCode::kBadData, "{}: record {}: expected a JSON object", file.string(),
           records.size() + 1);
    }
    record.erase("seconds");
    record.erase("samples_per_second");
    records.push_back(std::move(record));
    begin = end + 1;
  }
  return records;
}

struct RecordComparison {
  std::int64_t equal = 0;
  std::int64_t step = 0;
  std::optional<Difference> difference;
};

RecordComparison compare_records(const std::filesystem::path& first,
                                 const std::filesystem::path& second, const std::string& name) {
  const std::vector<Json> one = records_in(first / name), two = records_in(second / name);
  RecordComparison result;
  for (std::size_t i = 0; i < std::max(one.size(), two.size()); ++i) {
    const bool both = i < one.size() && i < two.size();
    std::optional<Difference> difference;
    if (both) {
      difference = compare_json(one[i], two[i]);
      if (!difference) {
        ++result.equal;
        continue;
      }
    } else {
      difference = Difference{.place = "the record",
                              .first = i < one.size() ? "there" : kAbsent,
                              .second = i < two.size() ? "there" : kAbsent};
    }
    const Json& record = i < one.size() ? one[i] : two[i];
    result.step = record.value("step", std::int64_t{0});
    if (both) result.step = std::min(result.step, two[i].value("step", std::int64_t{0}));
    result.difference = std::move(difference);
    result.difference->file = name;
    result.difference->place =
        fmt::format("{} record, {}", record.value("kind", "decision"), result.difference->place);
    return result;
  }
  return result;
}

// In that step or earlier: the earliest step wins, and in it every file has its say.
void take(Comparison& comparison, std::int64_t step, Difference difference) {
  if (comparison.equal() || step < comparison.step) {
    comparison.differences.clear();
    comparison.step = step;
  }
  if (step == comparison.step) comparison.differences.push_back(std::move(difference));
}

}  // namespace

Comparison compare_runs(const std::filesystem::path& first, const std::filesystem::path& second,
                        const std::function<void()>& progress) {
  const CheckpointStore one(first / "checkpoints"), two(second / "checkpoints");
  std::map<std::int64_t, std::pair<std::filesystem::path, std::filesystem::path>> steps;
  for (const auto& [step, directory] : one.list()) steps[step].first = directory;
  for (const auto& [step, directory] : two.list()) steps[step].second = directory;
  Comparison comparison;
  for (const auto& [step, directories] : steps) {
    const auto& [ours, theirs] = directories;
    if (ours.empty() || theirs.empty()) {
      take(comparison, step,
           {.file = "checkpoints",
            .place = "the checkpoint",
            .first = ours.empty() ? kAbsent : "there",
            .second = theirs.empty() ? kAbsent : "there"});
    } else {
      for (Difference& difference : compare_checkpoints(load_checkpoint(ours, progress).files,
                                                        load_checkpoint(theirs, progress).files)) {
        take(comparison, step, std::move(difference));
      }
      progress();
    }
    if (!comparison.equal()) break;
    ++comparison.checkpoints;
  }
  for (const auto& [name, count] : {std::pair("metrics.jsonl", &comparison.metrics),
                                    std::pair("decisions.jsonl", &comparison.decisions)}) {
    RecordComparison records = compare_records(first, second, name);
    *count = records.equal;
    if (records.difference) take(comparison, records.step, std::move(*records.difference));
  }
  return comparison;
}

}  // namespace lockstep
