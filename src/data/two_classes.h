// A histogram parted in two.
#pragma once

#include <array>
#include <optional>

namespace lockstep::data {

/// How much of a picture has each value 0 .. 255.
using Histogram = std::array<double, 256>;

struct TwoClasses {
  int last_dark = 0;  ///< the largest value of the dark class
  double dark = 0;    ///< its mean
  double light = 0;   ///< the light class's mean
  double dark_weight = 0;
  double light_weight = 0;
};

/// The parting with the greatest variance between the classes (Otsu 1979); none for less than two
/// values.
std::optional<TwoClasses> two_classes(const Histogram& histogram);

}  // namespace lockstep::data
