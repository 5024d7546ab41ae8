// A training run, or several side by side, as one HTML page that needs nothing else: no network, no
// other file, no script.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "lockstep/data/dataset.h"

namespace lockstep {

/// Where the pictures of misclassified images come from: data sets by their SHA-256. Keeps what it
/// has read, so that a page that is made again and again reads once. Not thread-safe.
class ImageSource {
 public:
  /// A data set that is in memory already. It must outlive this object.
  void provide(const std::string& sha256, const Dataset& dataset);

  struct Found {
    const Dataset* dataset = nullptr;
    std::string problem;  ///< why there is none
  };
  /// The data set with that content: one that is known, or what `load` returns. Never throws: what
  /// `load` throws, and other content than was expected, is the problem.
  Found find(const std::string& sha256, const std::function<Dataset()>& load);

 private:
  std::map<std::string, const Dataset*> known_;
  std::vector<std::unique_ptr<Dataset>> read_;
};

struct ReportOptions {
  /// Above 0: the page asks the browser to load it again after so many seconds while a run goes on.
  double refresh_seconds = 0;
  /// gnuplot, found on PATH unless it has a slash.
  std::string gnuplot = "gnuplot";
  /// May be null: images are read then.
  ImageSource* images = nullptr;
  /// Called ten times a second while a plot is made, which may take its time.
  std::function<void()> progress;
};

struct Report {
  std::string html;
  /// What could not be shown, and why; the page says it too.
  std::vector<std::string> warnings;
  /// Whether any of the runs goes on.
  bool running = false;
};

/// At least one run directory, at most kMostRuns. What a directory lacks (old runs, runs that have
/// just begun) the page says it lacks; so with pictures when gnuplot or the data are missing. A
/// torn last line of a file that is being written is left out. Throws Error{kInputMissing} for a
/// directory that holds no run and Error{kBadData} naming file, line and fault for anything that
/// lockstep does not write.
Report make_report(std::span<const std::filesystem::path> runs, const ReportOptions& options = {});

inline constexpr std::size_t kMostRuns = 21;

}  // namespace lockstep
