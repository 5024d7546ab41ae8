// Reading datasets from disk. Every function checks all of what it reads and repairs nothing; a
// failure is Error{kInputMissing} for a file that is absent and Error{kBadData} for one that is
// damaged or of the wrong kind, with file, line or byte offset, what was found and what was
// expected.
//
// A path is one of
// - a directory with IDX files: train-images-idx3-ubyte and train-labels-idx1-ubyte (test: t10k-*),
// also
//   spelled train-images.idx3-ubyte, also ending in .gz; images [N,H,W] (magic 0x00000803) or
//   [N,C,H,W] (0x00000804, file name idx3 or idx4). Of a raw file and the same name with .gz the
//   raw file is read; two spellings of one file are refused.
// - a CSV file, one image a row: a label and the pixels in order of channel, row, column, all plain
// decimal
//   integers. 784 pixels are 1x28x28; otherwise n*n or else 3*n*n pixels are taken as a square
//   image. An optional header says label,pixel0,pixel1,... (or pixel1,pixel2,..., or 1x1,1x2,...).
//   Lines end in LF or CRLF; a UTF-8 byte order mark is skipped.
// - a single IDX file of images, where labels are optional.
// Whether a file is compressed (gzip) is told by its content, not its name. Compressed content may
// have at most 64 MiB + 200 times the file's size. `progress` is called at least once every 16 MiB
// that are read.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "lockstep/data/dataset.h"

namespace lockstep {

struct DataOptions {
  /// Training data, a path as above; empty: the embedded MNIST.
  std::filesystem::path data;
  /// Test data, likewise; empty: the t10k files beside an IDX training set.
  std::filesystem::path test_data;
  /// Share of the training data that is held out for validation, [0, 1).
  double validation_fraction = 0.1;
  /// Chooses which samples are held out, whatever the seed of the training.
  std::uint64_t split_seed = 1;
  /// Hold out the same share of every class.
  bool stratify = false;
  /// Where the embedded MNIST is looked for besides its usual places: of a program that is not
  /// installed with lockstep. No setting.
  std::filesystem::path embedded{};
};

/// Which files of an IDX directory: train-* or t10k-*.
enum class Part { kTraining, kTest };
/// kOptional: no label file, or no label column, gives an unlabelled dataset.
enum class Labels { kRequired, kOptional };

Dataset load_dataset(const std::filesystem::path& path, Part part, Labels labels,
                     const std::function<void()>& progress = {});

/// For looking at damage: what load_dataset refuses for one row of a CSV file, or for labels of an
/// IDX file, is told to `damaged` in a message each, and the image left out. Labels are optional.
/// Throws for all other damage, and where no image is left.
Dataset load_undamaged(const std::filesystem::path& path, Part part,
                       const std::function<void(const std::string&)>& damaged);

/// Whether a directory has a file of this part's images or labels.
bool has_part(const std::filesystem::path& directory, Part part);

/// options.data, labelled.
Dataset load_training(const DataOptions& options, const std::function<void()>& progress = {});
/// options.test_data, labelled; without it the t10k files of the training data's directory; nothing
/// where there are none.
std::optional<Dataset> load_test(const DataOptions& options,
                                 const std::function<void()>& progress = {});

/// The MNIST that comes with lockstep: installed with this program, in `embedded` (unless it is
/// empty), or in the source tree. Throws Error{kInputMissing} naming the directories that were
/// tried.
std::filesystem::path embedded_data_directory(const std::filesystem::path& embedded = {});

}  // namespace lockstep
