// Finding the IDX files of a directory by their usual names.
#pragma once

#include <filesystem>
#include <optional>
#include <span>

#include "lockstep/data/load.h"

namespace lockstep::data {

struct IdxFiles {
  std::optional<std::filesystem::path> images;
  std::optional<std::filesystem::path> labels;
};

/// Throws Error{kBadData} when a file is there in two spellings.
IdxFiles find_idx_files(const std::filesystem::path& directory, Part part);

/// Throws Error{kInputMissing} saying what is missing and what is there instead.
void require_complete(const IdxFiles& files, const std::filesystem::path& directory, Part part,
                      Labels labels);

/// Throws Error{kInputMissing} naming all candidates when none holds training images and labels.
std::filesystem::path first_with_training_data(std::span<const std::filesystem::path> candidates);

}  // namespace lockstep::data
