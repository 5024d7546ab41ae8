// What the store's tests save, and how they look at a store.
#pragma once

#include <algorithm>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lockstep/checkpoint/store.h"

namespace lockstep::test {

inline std::vector<std::byte> bytes_of(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

/// Two files whose content tells the step.
inline std::vector<CheckpointFile> files_of(std::int64_t step) {
  return {{"state.json", bytes_of("{\"step\":" + std::to_string(step) + "}")},
          {"model.safetensors", bytes_of("weights of step " + std::to_string(step))}};
}

inline bool holds_files_of(const CheckpointStore::Loaded& loaded, std::int64_t step) {
  std::map<std::string, std::vector<std::byte>> expected;
  for (auto& file : files_of(step)) expected.emplace(file.name, std::move(file.bytes));
  return loaded.global_step == step && loaded.files == expected;
}

/// Names in a directory, hidden ones too, sorted.
inline std::vector<std::string> names_in(const std::filesystem::path& directory) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace lockstep::test
