// A data set as one HTML page that needs nothing else, in the style of a run's report: class
// frequencies, pixel values, images of each class, and the same images as training would distort
// them.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "lockstep/data/augmentation.h"
#include "lockstep/data/inspection.h"

namespace lockstep {

struct DataPageOptions {
  /// What a training with these settings does to its images, in its first epoch.
  AugmentationOptions augmentation;
  std::uint64_t seed = 1;
  /// gnuplot, found on PATH unless it has a slash.
  std::string gnuplot = "gnuplot";
  /// Called ten times a second while a plot is made, which may take its time.
  std::function<void()> progress;
};

struct DataPage {
  std::string html;
  /// What could not be shown, and why; the page says it too.
  std::vector<std::string> warnings;
};

/// Of facts with at least one part that could be read.
DataPage make_data_page(const DataFacts& facts, const DataPageOptions& options = {});

}  // namespace lockstep
