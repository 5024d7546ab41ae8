#include "lockstep/data/load.h"

#include <algorithm>
#include <array>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "data/byte_source.h"
#include "data/csv.h"
#include "data/idx.h"
#include "data/idx_directory.h"
#include "lockstep/base/error.h"

namespace lockstep {

namespace {

namespace fs = std::filesystem;

// What people hand over by mistake, by its first bytes.
std::string_view kind_of(std::string_view head) {
  using namespace std::string_view_literals;
  constexpr std::array<std::pair<std::string_view, std::string_view>, 13> kKinds{{
      {"\x89PNG"sv, " (a PNG image)"},
      {"\xff\xd8\xff"sv, " (a JPEG image)"},
      {"GIF8"sv, " (a GIF image)"},
      {"II*\0"sv, " (a TIFF image)"},
      {"MM\0*"sv, " (a TIFF image)"},
      {"RIFF"sv, " (a WebP image, a sound or a film)"},
      {"BM"sv, " (a BMP image)"},
      {"PK\x03\x04"sv, " (a zip archive)"},
      {"\x93NUMPY"sv, " (a NumPy array)"},
      {"\x89HDF"sv, " (an HDF5 file)"},
      {"%PDF"sv, " (a PDF document)"},
      {"\xff\xfe"sv, " (UTF-16 text)"},
      {"\xfe\xff"sv, " (UTF-16 text)"},
  }};
  for (const auto& [start, kind] : kKinds) {
    if (head.starts_with(start)) return kind;
  }
  return "";
}

fs::path training_path(const DataOptions& options) {
  return options.data.empty() ? embedded_data_directory(options.embedded) : options.data;
}

using Damaged = std::function<void(const std::string&)>;

Dataset load_file(const fs::path& path, Labels labels, const std::function<void()>& progress,
                  const Damaged& damaged) {
  constexpr std::size_t kHeadSize = 64;
  const std::string head = data::content_head(path, kHeadSize);
  if (head.empty()) fail(ExitCode::kBadData, "{}: is empty", path.string());
  if (data::looks_like_idx(head)) {
    if (labels == Labels::kOptional) return data::read_idx(path, std::nullopt, progress);
    fail(ExitCode::kInputMissing,
         "{}: a single IDX file, expected the directory that holds both images and labels",
         path.string());
  }
  const std::string_view kind = kind_of(head);
  if (!kind.empty() || !data::looks_like_text(head)) {
    fail(ExitCode::kBadData,
         "{}: starts with {}{}, expected a CSV file (label,pixel0,...) or a directory of IDX files",
         path.string(), data::quoted(std::string_view(head).substr(0, 8)), kind);
  }
  return data::read_csv(path, labels, progress, damaged);
}

Dataset load(const fs::path& path, Part part, Labels labels, const std::function<void()>& progress,
             const Damaged& damaged) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (!fs::exists(status)) {
    fail(ExitCode::kInputMissing, "{}: cannot be opened: {}", path.string(),
         error ? error.message() : "No such file or directory");
  }
  if (!fs::is_directory(status)) return load_file(path, labels, progress, damaged);
  const data::IdxFiles files = data::find_idx_files(path, part);
  data::require_complete(files, path, part, labels);
  return data::read_idx(*files.images, files.labels, progress, damaged);
}

}  // namespace

Dataset load_dataset(const fs::path& path, Part part, Labels labels,
                     const std::function<void()>& progress) {
  return load(path, part, labels, progress, {});
}

Dataset load_undamaged(const fs::path& path, Part part, const Damaged& damaged) {
  return load(path, part, Labels::kOptional, {}, damaged);
}

bool has_part(const fs::path& directory, Part part) {
  const data::IdxFiles files = data::find_idx_files(directory, part);
  return files.images || files.labels;
}

Dataset load_training(const DataOptions& options, const std::function<void()>& progress) {
  return load_dataset(training_path(options), Part::kTraining, Labels::kRequired, progress);
}

std::optional<Dataset> load_test(const DataOptions& options,
                                 const std::function<void()>& progress) {
  if (!options.test_data.empty()) {
    return load_dataset(options.test_data, Part::kTest, Labels::kRequired, progress);
  }
  const fs::path directory = training_path(options);
  std::error_code error;
  if (!fs::is_directory(directory, error)) return std::nullopt;
  if (!has_part(directory, Part::kTest)) return std::nullopt;
  return load_dataset(directory, Part::kTest, Labels::kRequired, progress);
}

fs::path embedded_data_directory(const fs::path& embedded) {
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  std::vector<fs::path> candidates;
  if (!error) candidates.push_back(program.parent_path() / LOCKSTEP_DATA_FROM_PROGRAM);
  if (!embedded.empty()) candidates.push_back(embedded);
  candidates.emplace_back(LOCKSTEP_SOURCE_DATA);
  return data::first_with_training_data(candidates);
}

}  // namespace lockstep
