#include "data/two_classes.h"

namespace lockstep::data {

std::optional<TwoClasses> two_classes(const Histogram& histogram) {
  double weight = 0;
  double sum = 0;
  for (std::size_t v = 0; v < histogram.size(); ++v) {
    weight += histogram[v];
    sum += histogram[v] * static_cast<double>(v);
  }
  std::optional<TwoClasses> best;
  double best_variance = 0;
  double dark_weight = 0;
  double dark_sum = 0;
  for (std::size_t v = 0; v + 1 < histogram.size(); ++v) {
    dark_weight += histogram[v];
    dark_sum += histogram[v] * static_cast<double>(v);
    const double light_weight = weight - dark_weight;
    if (histogram[v] <= 0 || light_weight <= 0) continue;
    const double dark = dark_sum / dark_weight;
    const double light = (sum - dark_sum) / light_weight;
    const double variance = dark_weight * light_weight * (light - dark) * (light - dark);
    if (variance <= best_variance) continue;
    best_variance = variance;
    best = TwoClasses{.last_dark = static_cast<int>(v),
                      .dark = dark,
                      .light = light,
                      .dark_weight = dark_weight,
                      .light_weight = light_weight};
  }
  return best;
}

}  // namespace lockstep::data
