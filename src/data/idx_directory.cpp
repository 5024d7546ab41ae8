#include "data/idx_directory.h"

#include <algorithm>
#include <initializer_list>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "lockstep/base/error.h"

namespace lockstep::data {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view prefix_of(Part part) {
  return part == Part::kTraining ? "train" : "t10k";
}

// A raw file wins over the same name with .gz: that is what decompressing with the original kept
// leaves.
std::optional<fs::path> find_one(const fs::path& directory, std::string_view stem,
                                 std::initializer_list<std::string_view> types) {
  std::optional<fs::path> found;
  for (const char separator : {'-', '.'}) {
    for (const std::string_view type : types) {
      const std::string name = fmt::format("{}{}{}-ubyte", stem, separator, type);
      for (const std::string_view ending : {"", ".gz"}) {
        const fs::path path = directory / fmt::format("{}{}", name, ending);
        std::error_code error;
        if (!fs::exists(path, error)) continue;
        if (found) {
          fail(ExitCode::kBadData, "{}: both {} and {} are there, expected one of them",
               directory.string(), found->filename().string(), path.filename().string());
        }
        found = path;
        break;
      }
    }
  }
  return found;
}

// "a, b, c and 4 more", sorted.
std::string list_entries(const fs::path& directory) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator entry(directory, error), end; !error && entry != end;
       entry.increment(error)) {
    names.push_back(entry->path().filename().string());
  }
  if (error) return "nothing that can be listed: " + error.message();
  if (names.empty()) return "nothing";
  std::sort(names.begin(), names.end());
  constexpr std::size_t kMost = 8;
  std::string text;
  for (std::size_t i = 0; i < std::min(kMost, names.size()); ++i) {
    text += (i > 0 ? ", " : "") + names[i];
  }
  if (names.size() > kMost) text += fmt::format(" and {} more", names.size() - kMost);
  return text;
}

}  // namespace

IdxFiles find_idx_files(const fs::path& directory, Part part) {
  const std::string_view prefix = prefix_of(part);
  return {.images = find_one(directory, fmt::format("{}-images", prefix), {"idx3", "idx4"}),
          .labels = find_one(directory, fmt::format("{}-labels", prefix), {"idx1"})};
}

void require_complete(const IdxFiles& files, const fs::path& directory, Part part, Labels labels) {
  if (files.images && (files.labels || labels == Labels::kOptional)) return;
  const std::string_view prefix = prefix_of(part);
  const std::string missing_images =
      files.images ? "" : fmt::format("{}-images-idx3-ubyte", prefix);
  const std::string missing_labels = files.labels || labels == Labels::kOptional
                                         ? ""
                                         : fmt::format("{}-labels-idx1-ubyte", prefix);
  fail(ExitCode::kInputMissing,
       "{}: {}{}{} not found (also looked for with .idx and with .gz); the directory holds {}",
       directory.string(), missing_images,
       missing_images.empty() || missing_labels.empty() ? "" : " and ", missing_labels,
       list_entries(directory));
}

fs::path first_with_training_data(std::span<const fs::path> candidates) {
  std::string tried;
  for (const fs::path& candidate : candidates) {
    const IdxFiles files = find_idx_files(candidate, Part::kTraining);
    if (files.images && files.labels) return candidate.lexically_normal();
    tried += (tried.empty() ? "" : ", ") + candidate.lexically_normal().string();
  }
  fail(ExitCode::kInputMissing,
       "the MNIST that comes with lockstep was not found in {}; give the data explicitly", tried);
}

}  // namespace lockstep::data
