// What lockstep predict reads: pictures, and files of many images.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "lockstep/base/error.h"
#include "lockstep/base/file.h"
#include "lockstep/data/dataset.h"
#include "lockstep/data/digit_image.h"
#include "lockstep/model/network.h"

namespace lockstep {

/// How images become what a network takes.
struct Preparation {
  NetworkShape shape;
  bool digit = true;  ///< as MNIST was made; else stretched to the shape as they are
  Invert invert = Invert::kAuto;
  /// Images of a dataset that have the shape already are left as they are.
  bool keep_fitting = true;

  /// One picture's pixels [C,H,W].
  std::vector<std::uint8_t> prepare(const Image& image) const;
  /// Images [begin, end) of a dataset, each prepared, as a dataset of its own without labels.
  /// Throws Error{kBadData} for images that are neither grey nor RGB.
  Dataset prepare(const Dataset& dataset, std::int64_t begin, std::int64_t end) const;
};

/// One file among the inputs, or standard input, of which every rank holds the content.
class InputFile {
 public:
  static InputFile at(const std::filesystem::path& path);
  static InputFile standard_input(std::string_view content);

  /// For messages.
  std::string name() const { return memory_.valid() ? "standard input" : path_.string(); }
  /// Whether its content begins like a picture's, or its name ends like one's. These throw
  /// Error{kInputMissing | kBadData | kInputOutput} with the file's name.
  bool is_picture() const;
  Image read_picture() const;
  /// An IDX or CSV file, or a directory with IDX files (its test part), labelled or not.
  Dataset read_dataset(const std::function<void()>& progress) const;

 private:
  template <typename Work>
  auto named(Work&& work) const;

  std::filesystem::path path_;
  /// Standard input's content as a file, for readers of files; path_ leads to it.
  FileDescriptor memory_;
};

/// The paths that the arguments mean, in order: a directory stands for the pictures in it (by
/// content, and by name but for hidden files), sorted by name, or for itself where it has none. "-"
/// stays. Throws Error{kUsage} for a second "-" and Error{kInputOutput} for a directory that cannot
/// be read.
std::vector<std::string> expand_inputs(const std::vector<std::string>& arguments);

/// All of standard input, `progress` being called every second while nothing comes. Throws
/// Error{kBadData} for 2 GiB and more, Error{kInputOutput}.
std::string read_standard_input(const std::function<void()>& progress);

}  // namespace lockstep
