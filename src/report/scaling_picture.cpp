#include "lockstep/report/scaling_picture.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "report/gnuplot.h"

namespace lockstep {

namespace {

// Of Okabe and Ito, which people who see few colours can tell apart.
constexpr std::array<const char*, 9> kPalette{"#0072b2", "#56b4e9", "#009e73", "#f0e442", "#d55e00",
                                              "#999999", "#cc79a7", "#e69f00", "#333333"};

using Curves = std::vector<ScalingPicture::Curve>;

// A foreseen curve has the colour of the measured one, which begins with the same word.
std::string color_of(const ScalingPicture::Curve& curve) {
  return kPalette[curve.label.starts_with("strong") ? 0 : 4];
}

std::string curve_data(const ScalingPicture::Curve& curve, const std::string& name) {
  std::string block = fmt::format("${} << END\n", name);
  for (const auto& [ranks, value] : curve.points) block += fmt::format("{} {}\n", ranks, value);
  return block + "END\n";
}

std::string line_of(const ScalingPicture::Curve& curve) {
  return fmt::format("with {} lc rgb \"{}\"",
                     curve.foreseen ? "lines lw 1.5 dt (6,4)" : "linespoints lw 2 pt 7 ps 0.5",
                     color_of(curve));
}

std::string plot_curves(const Curves& curves, const std::string& name) {
  std::string data, elements;
  int number = 0;
  for (const ScalingPicture::Curve& curve : curves) {
    const std::string block = fmt::format("{}{}", name, number++);
    data += curve_data(curve, block);
    elements += fmt::format("{}${} using 1:2 {} notitle", elements.empty() ? "" : ", ", block,
                            line_of(curve));
  }
  return data + "plot " + elements;
}

double last_rank(const Curves& curves) {
  double last = 1;
  for (const ScalingPicture::Curve& curve : curves) {
    for (const auto& [ranks, value] : curve.points) last = std::max(last, ranks);
  }
  return last;
}

std::string rates(const ScalingPicture& picture) {
  const double last = last_rank(picture.rates);
  double most = 1;
  for (const ScalingPicture::Curve& curve : picture.rates) {
    const auto& [ranks, rate] = curve.points.front();
    most = std::max(most, rate * last / ranks);
  }
  std::string script = fmt::format(
      "set title \"images a second (dotted: ideal)\"\nset yrange [0:{}]\nset xrange [0:{}]\nset "
      "xtics "
      "0,{}\n",
      1.4 * most, 1.1 * last, std::max(1.0, std::ceil(last / 8)));
  script += plot_curves(picture.rates, "rate");
  for (const ScalingPicture::Curve& curve : picture.rates) {
    const auto& [ranks, rate] = curve.points.front();
    script += fmt::format(", {} * x with lines lw 1 dt (1,3) lc rgb \"{}\" notitle", rate / ranks,
                          color_of(curve));
  }
  // The legend of this picture and the next, where no curve comes.
  for (const ScalingPicture::Curve& curve : picture.efficiencies) {
    script += fmt::format(", NaN {} title \"{}\"", line_of(curve), curve.label);
  }
  return script + "\n";
}

std::string efficiencies(const ScalingPicture& picture) {
  double most = 100;
  for (const ScalingPicture::Curve& curve : picture.efficiencies) {
    for (const auto& [ranks, value] : curve.points) most = std::max(most, value);
  }
  std::string script = fmt::format(
      "set title \"efficiency in percent (dotted: 90)\"\nset logscale x 2\nset xtics autofreq\nset "
      "yrange [0:{}]\nset xrange [0.9:{}]\n",
      1.05 * most, 1.15 * last_rank(picture.efficiencies));
  return script + plot_curves(picture.efficiencies, "efficiency") +
         ", 90 with lines lw 1 dt (1,3) lc rgb \"#333333\" notitle\n";
}

std::string bars(const ScalingPicture& picture) {
  std::string script =
      "set title \"where a step goes, in percent\"\nunset logscale x\nset key outside right top "
      "vertical maxcols 1 "
      "reverse Left invert\nset xlabel \"\"\nset yrange [0:105]\nset style data histograms\nset "
      "style "
      "histogram rowstacked\nset style fill solid 1 noborder\nset boxwidth 0.7\nset xtics rotate "
      "by "
      "-35 autofreq\nset xrange [-0.6:*]\n$bars << END\n";
  for (const ScalingPicture::Bar& bar : picture.bars) {
    script += fmt::format("\"{}\"", bar.label);
    // What is below nothing is noise, and cannot be drawn on top of the rest.
    for (const double share : bar.shares) script += fmt::format(" {}", std::max(0.0, share));
    script += '\n';
  }
  script += "END\nplot ";
  for (std::size_t i = 0; i < picture.parts.size(); ++i) {
    script +=
        fmt::format("{}$bars using {}{} lc rgb \"{}\" title \"{}\"", i == 0 ? "" : ", ", i + 2,
                    i == 0 ? ":xtic(1)" : "", kPalette[i % kPalette.size()], picture.parts[i]);
  }
  return script + "\n";
}

}  // namespace

std::string draw_scaling(const ScalingPicture& picture) {
  const std::string script =
      "set terminal svg size 1180,340 noenhanced font \"Arial,13\" background \"white\" dashlength "
      "0.7\nset multiplot\nset border 3\nset tics nomirror out scale 0.4\nset grid ytics lc rgb "
      "\"#dddddd\"\nset xlabel \"ranks\"\nset key samplen 2 top left reverse Left\n"
      "set origin 0,0\nset size 0.27,1\n" +
      rates(picture) + "set origin 0.27,0\nset size 0.33,1\n" + efficiencies(picture) +
      "set origin 0.6,0\nset size 0.4,1\n" + bars(picture) + "unset multiplot\n";
  return report::run_gnuplot("gnuplot", script);
}

}  // namespace lockstep
