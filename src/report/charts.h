// Which charts a page has, and what is in them.
#pragma once

#include <optional>
#include <span>

#include "report/gnuplot.h"
#include "report/summary.h"

namespace lockstep::report {

// Curves of one run, or of several in one picture. Nothing where there are no values yet.
std::optional<Chart> loss_chart(std::span<const Run> runs);
std::optional<Chart> accuracy_chart(std::span<const Run> runs);
std::optional<Chart> rate_chart(std::span<const Run> runs);
std::optional<Chart> throughput_chart(std::span<const Run> runs);

// Of one run.
Chart reliability_chart(const Calibration& calibration);
Chart confidence_chart(const Calibration& calibration);
Chart class_chart(const std::vector<SplitFacts>& splits);
/// Shares of the time of each rank; at most kMostRanksShown of them.
Chart time_chart(const Summary& summary);

/// Seconds of the root, by epoch. Nothing where there are none, or too many to tell apart.
std::optional<Chart> epoch_time_chart(const History& history);

inline constexpr std::size_t kMostRanksShown = 64;
inline constexpr std::size_t kMostEpochsShown = 120;

}  // namespace lockstep::report
