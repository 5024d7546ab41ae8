// One picture of how training scales with the number of ranks.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace lockstep {

struct ScalingPicture {
  struct Curve {
    std::string label;
    bool foreseen = false;                          ///< dashed, without points of its own
    std::vector<std::pair<double, double>> points;  ///< ranks, value
  };
  struct Bar {
    std::string label;
    std::vector<double> shares;  ///< percent of a step, one a part
  };
  std::vector<Curve> rates;         ///< images a second
  std::vector<Curve> efficiencies;  ///< percent
  std::vector<std::string> parts;   ///< names of the shares
  std::vector<Bar> bars;
};

/// Rate and efficiency by number of ranks, and where a step's time went, side by side: an SVG
/// file's text, drawn by gnuplot. Labels are words of this program: letters, digits, blanks,
/// commas. Throws Error{kInputMissing} where there is no gnuplot, Error{kUnavailable} when it
/// fails.
std::string draw_scaling(const ScalingPicture& picture);

}  // namespace lockstep
