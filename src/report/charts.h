// Which charts a page has, and what is in them.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "report/gnuplot.h"
#include "report/summary.h"

namespace lockstep::report {

// Curves of one run, or of several in one picture. Nothing where there are no values yet.
std::optional<Chart> loss_chart(std::span<const Run> runs);
std::optional<Chart> metric_chart(std::span<const Run> runs);
std::optional<Chart> rate_chart(std::span<const Run> runs);
std::optional<Chart> throughput_chart(std::span<const Run> runs);

// Of one run.
/// `samples`: what they are called, "images".
Chart reliability_chart(const Calibration& calibration, const std::string& samples);
Chart confidence_chart(const Calibration& calibration, const std::string& samples);
Chart class_chart(const std::vector<SplitFacts>& splits);

/// How often each pixel value occurs in one part of a data set.
struct PixelCounts {
  std::string name;
  std::array<std::int64_t, 256> histogram{};
};
/// Shares of ranges of values, on a logarithmic scale.
Chart pixel_chart(const std::vector<PixelCounts>& parts);

/// Shares of the time of each rank; at most kMostRanksShown of them.
Chart time_chart(const Summary& summary);

/// Seconds of the root, by epoch. Nothing where there are none, or too many to tell apart.
std::optional<Chart> epoch_time_chart(const History& history);

inline constexpr std::size_t kMostRanksShown = 64;
inline constexpr std::size_t kMostEpochsShown = 120;

}  // namespace lockstep::report
